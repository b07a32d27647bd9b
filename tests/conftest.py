"""The ground every test stands on: real PostgreSQL and Valkey, a real chain with our contracts,
the real ASGI app."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from runner.chromium import chromium
from runner.postgres import EmbeddedPostgres
from runner.processes import free_port as _free_port
from tests import database

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# How long an example takes is the machine's doing, and no reason to fail.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

if TYPE_CHECKING:
    from devnet.anvil import Anvil
    from devnet.deploy import Deployment


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_blocker: Any) -> Iterator[None]:
    """pytest-django calls this before it looks for the test database: the moment to boot a server
    of this process's own, on a copy of the migrated cluster."""
    from django.db import connections
    from django.test import TransactionTestCase

    with tempfile.TemporaryDirectory(prefix="zgm-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with django_db_blocker.unblock():
            database.migrated(folder / "pg")
        with EmbeddedPostgres(folder / "pg") as server, pytest.MonkeyPatch.context() as patch:
            patch.setattr(TransactionTestCase, "_fixture_teardown", database.empty)
            for connection in connections.all():
                connection.settings_dict["HOST"] = str(server.socket_dir)
                connection.settings_dict["PORT"] = ""
            yield
            connections.close_all()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The copy is migrated already, and goes with its server."""
    return True


@pytest.fixture(autouse=True, scope="module")
def limits_of_its_own() -> None:
    """A file begins with whole limits: all of them ask from one address, and which file came before
    in this process is chance."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(autouse=True)
def one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window of a limit ends within a test: at every full ten minutes one would begin anew in
    the middle of whoever counts."""
    from accounts import limits

    began = time.time()
    monkeypatch.setattr(limits, "time", SimpleNamespace(time=lambda: began))


@pytest.fixture(autouse=True)
def nothing_is_believed() -> None:
    """A test that took Redis away leaves no pause behind for the next one, one with a chain neither
    its pace nor that its node kept silent, and none a sum: their blocks have the same hashes."""
    from accounts import node
    from chain import selectors
    from marketplace.memo import at_block, at_listing
    from net import cache

    node._local.__dict__.pop("silent_until", None)
    cache._asked_again = 0.0
    selectors._pace = (0.0, None)
    at_block.state = at_listing.state = ""


@pytest.fixture
def quick_passwords(settings: Any) -> None:
    """A hash that takes no time: the one of the site takes a tenth of a second by design."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def free_port() -> int:
    return _free_port()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with files that may not be copied into the repository."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: files from public repositories are read from there only")
    return SHARED


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    """A bare chain for the whole session."""
    from devnet.anvil import Anvil

    with Anvil() as node:
        yield node


@pytest.fixture(scope="session")
def devnet(anvil: Anvil) -> Deployment:
    """Our contracts, deployed once per session on `anvil`."""
    from devnet.deploy import deploy

    return deploy(anvil.url)


@contextmanager
def pooled() -> Iterator[None]:
    """Connections are kept as on the site: each request has a thread of its own, and a new
    connection for each costs more than most of what is asked on it."""
    from django.db import connection

    connection.close()
    options = connection.settings_dict["OPTIONS"]
    options["pool"] = {"min_size": 1, "max_size": 50, "timeout": 10}
    try:
        yield
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        del options["pool"]


@pytest.fixture
def asgi_server(
    transactional_db: None, settings: Any, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The real ASGI app (HTTP and websockets) on uvicorn in a thread, on the test database; yields
    its URL.

    With the `devnet` fixture in the same test, the site's RPC is that chain.
    """
    import uvicorn

    if "anvil" in request.fixturenames or "devnet" in request.fixturenames:
        settings.CHAIN_RPC_URLS = (request.getfixturevalue("anvil").url,)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    settings.SITE_URL = url
    settings.CSRF_TRUSTED_ORIGINS = [url]
    settings.CONTENT_SECURITY_POLICY = {
        "DIRECTIVES": {
            **settings.CONTENT_SECURITY_POLICY["DIRECTIVES"],
            "connect-src": ["'self'", url.replace("http", "ws", 1)],
        }
    }
    from marketplace.asgi import application

    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        lifespan="on",
        ws="websockets-sansio",
        loop="asyncio",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    with pooled():
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("uvicorn did not start")
            time.sleep(0.01)
        yield url
        server.should_exit = True
        thread.join(10)
    # A request that the closing browser cut off can leave its connection open; the flush and the
    # drop of the test database would wait for it.
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {
        **browser_type_launch_args,
        "executable_path": chromium(),
        "args": [
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            # Pages that live for seconds: to optimize their scripts takes longer than it spares.
            "--js-flags=--no-opt --no-maglev",
        ],
        # Where LANG is unset, Chromium may call its language "en-US@posix": no script can use it.
        "env": {**os.environ, "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8"},
    }
