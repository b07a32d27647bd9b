"""Loaded with `-p tests.environment` before pytest-django reads the settings: the environment of
every test."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from django.conf import LazySettings

from runner.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parent.parent

# All that is made while the tests are collected stays: the collector would look for nothing.
gc.disable()

# As in `run`: byte code under .data where none may lie beside the sources. The tests start hundreds
# of processes, and each would compile Django anew.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".data" / "pycache"))
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"]
    sys.dont_write_bytecode = False

# Playwright's sync API keeps an event loop running in the test thread.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
# Where a `./run` that a test starts keeps its data: no other run is in the way.
_data = Path(tempfile.mkdtemp(prefix="zgm-run-"))
_data.chmod(0o755)  # PostgreSQL may run as another user
os.environ["RUN_DATA"] = str(_data)


def _without_a_real_site() -> None:
    """Whoever has the settings of one exported tests neither its standby nor its mail, and reports
    no failure to its Sentry."""
    from runner.environment import variables  # which reads RUN_DATA

    for name in variables():
        os.environ.pop(name, None)


_without_a_real_site()
# Connections of the test database come and go with it: no pool but under `asgi_server`.
os.environ["DATABASE_POOL_SIZE"] = "0"
os.environ["NETWORK"] = "devnet"
# The providers of the tests listen on loopback.
os.environ["ALLOW_PRIVATE_PROVIDERS"] = "1"
os.environ["PATH"] = os.pathsep.join((str(ROOT / "node_modules" / ".bin"), os.environ["PATH"]))

# Of all processes of this run (tests/forks.py): whose end is its end, and where its servers are.
_forks = ""
if "PYTEST_XDIST_WORKER" not in os.environ:
    _forks = tempfile.mkdtemp(prefix="zgm-forks-")
    os.environ["FORKS"] = f"{os.getpid()}:{_forks}"

valkey = EmbeddedValkey().start()
os.environ["REDIS_URL"] = valkey.url

_set = LazySettings.__setattr__


def _swap(settings: LazySettings, name: str, value: object) -> None:
    """What a test overrides takes the place of the settings at once: Django forgets the old ones
    first, and threads (of servers, of what is asked at the same time) would find none meanwhile."""
    if name != "_wrapped":
        _set(settings, name, value)
        return
    settings.__dict__["_wrapped"] = value
    for read in [*settings.__dict__]:
        if read != "_wrapped":
            settings.__dict__.pop(read, None)


LazySettings.__setattr__ = _swap  # type: ignore[assignment,method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests and all modules are there to stay: the collector need not look through
    them while the tests run, either, and then runs as `marketplace/__init__.py` says."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    valkey.stop()
    shutil.rmtree(_data, ignore_errors=True)
    if _forks:
        shutil.rmtree(_forks, ignore_errors=True)
