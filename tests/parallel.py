"""How the tests are ordered and shared out among processes (CONTRIBUTING.md, "How the tests run").

Loaded with `-p tests.parallel`.
"""

from __future__ import annotations

import compileall
import multiprocessing
import os
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.assertion import rewrite

ROOT = Path(__file__).resolve().parent
ORDER = ("pure", "db", "live", "browser")
#: Begun first, so that no process is left alone with one of them in the end. The long before the
#: short, and those that mostly wait between those that compute.
LONG = (
    "live/test_run.py",
    "db/test_permissions.py",
    "live/test_chaos.py",
    "live/test_follow_faults.py",
    "live/test_follow_crashes.py",
    "live/test_follow_scale.py",
    "db/test_api_fuzz.py",
    "db/test_crawl.py",
    "live/test_image.py",
    "live/test_index.py",
    "live/test_contract_forge.py",
    "pure/test_attestation_mutations.py",
    "live/test_contract_rules.py",
    "browser/test_journey.py",
    "browser/test_pages.py",
    "browser/test_money.py",
    "browser/test_chat_more.py",
    "browser/test_media.py",
    "browser/test_wallet_pending.py",
    "browser/test_wallet.py",
    "browser/test_german.py",
    "browser/test_chat.py",
    "browser/test_tuning.py",
    "browser/test_money_hostile.py",
    "browser/test_plain.py",
    "browser/test_money_actions.py",
    "browser/test_verification.py",
    "browser/test_listing.py",
    "live/test_faults.py",
    "browser/test_keyboard.py",
    "browser/test_keys.py",
    "browser/test_ops.py",
    "browser/test_moderation.py",
    "browser/test_chat_presets.py",
    "browser/test_market.py",
    "browser/test_chat_pictures.py",
    "browser/test_alerts.py",
    "browser/test_personal.py",
    "browser/test_paper.py",
)
#: Those that wait most, the longest first: one process does them all, beside the others, which
#: compute.
WAITING = (
    "live/test_hostile_providers.py",
    "live/test_official_sdk.py",
    "live/test_provider_settlement.py",
    "live/test_provider_serving.py",
    "live/test_official_tuning.py",
    "live/test_chat_load.py",
    "live/test_tuning_broker.py",
    "live/test_provider_jobs.py",
    "live/test_provider_media.py",
    "live/test_index_nodes.py",
    "live/test_chat_process.py",
    "db/test_turns.py",
    "db/test_chain_rpc.py",
)
#: Outside of `browser` with a browser, and inside without.
ALSO_BROWSER, NO_BROWSER = ("live/test_faults.py",), ("browser/test_webkit.py",)
#: Long files whose tests share nothing: each test may go to another process.
SPREAD = ("browser/test_pages.py", "browser/test_wallet.py")
#: They fork their followers from one server, which each process would have to start for itself.
TOGETHER = (
    "live/test_chaos.py",
    "live/test_follow_faults.py",
    "live/test_follow_crashes.py",
    "live/test_follow_scale.py",
)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def _has_browser(name: str) -> bool:
    return name in ALSO_BROWSER or (name.startswith("browser/") and name not in NO_BROWSER)


def _with_browser(items: list[pytest.Item]) -> set[str]:
    """Files that start a browser. They come last in every process: Playwright's sync API leaves its
    event loop running in the thread, and no other could run beside it."""
    found = {_file(i.nodeid) for i in items if "playwright" in getattr(i, "fixturenames", ())}
    if unknown := sorted(name for name in found if not _has_browser(name)):
        raise pytest.UsageError(f"tests.parallel: ALSO_BROWSER lacks {', '.join(unknown)}")
    return found


def _cheap_first(items: list[pytest.Item]) -> dict[str, tuple[int, float]]:
    late = _with_browser(items)
    return {
        name: (ORDER.index("browser" if name in late else name.partition("/")[0]), 0.0)
        for name in {_file(item.nodeid) for item in items}
    }


def _long_first(items: list[pytest.Item]) -> dict[str, tuple[int, float]]:
    """The long ones as listed, then live and db evenly mixed, since the ones wait while the others
    compute, then `pure`; browsers end it. Beside them go those that wait most."""
    late, files = _with_browser(items), list(dict.fromkeys(_file(item.nodeid) for item in items))
    places = {}
    for folder in ORDER:
        ours = [name for name in files if name.partition("/")[0] == folder]
        for number, name in enumerate(ours):
            places[name] = (2, 0.0) if folder == "pure" else (1, number / len(ours))
    places |= {name: (0, float(number)) for number, name in enumerate(LONG)}
    places |= {name: (3, float(number)) for number, name in enumerate(WAITING)}
    return places | {
        name: (4, 100 * places[name][0] + places[name][1]) for name in files if name in late
    }


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Alone, the cheap tests first: their failures are told soon. Among several, the long first."""
    places = _long_first(items) if hasattr(config, "workerinput") else _cheap_first(items)
    items.sort(key=lambda item: places[_file(item.nodeid)])


def _compile(config: pytest.Config, files: list[Path]) -> None:
    """What is missing: byte code, that of tests with pytest's asserts, and Hypothesis's lists of
    the constants in what is tested."""
    from hypothesis.internal.constants_ast import constants_from_module

    for file in files:
        if file.is_relative_to(ROOT) and file.name.startswith(("test_", "conftest")):
            made = rewrite.get_cache_dir(file) / (file.stem + rewrite.PYC_TAIL)
            if rewrite._read_pyc(file, made) is None and rewrite.try_makedirs(made.parent):
                digest, code = rewrite._rewrite_test(file, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, digest, made)
            continue
        compileall.compile_file(file, quiet=2)
        if not file.is_relative_to(ROOT) and file.parent.name != "migrations":
            module = ModuleType(file.stem)
            module.__file__ = str(file)
            constants_from_module(module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """A fresh clone is compiled here, once: else each process would do all of it for itself."""
    packages = [file.parent for file in ROOT.parent.glob("*/__init__.py")]
    files = [file for folder in packages for file in sorted(folder.rglob("*.py"))]
    context, cores = multiprocessing.get_context("fork"), os.cpu_count() or 1
    parts = [
        context.Process(target=_compile, args=(config, files[number::cores]))
        for number in range(cores)
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays in one process, for the fixtures that its tests share; a process that has begun
    with browsers stays with them, and one begins with what waits."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class Files(LoadScopeScheduling):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(config, log)
            self._at_browsers: set[Any] = set()
            self._waits: Any = None

        def _split_scope(self, nodeid: str) -> str:
            name = _file(nodeid)
            return nodeid if name in SPREAD else TOGETHER[0] if name in TOGETHER else name

        def _reschedule(self, node: Any) -> None:
            if node in self._at_browsers and not self._browsers() and not node.shutting_down:
                node.shutdown()  # what is left is for others
            else:
                super()._reschedule(node)

        def _assign_work_unit(self, node: Any) -> None:
            self._waits = self._waits or node
            scope = self._next(node)
            if _has_browser(_file(scope)):
                self._at_browsers.add(node)
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

        def _next(self, node: Any) -> str:
            if node in self._at_browsers and (browsers := self._browsers()):
                return browsers[0]
            left: list[str] = list(self.workqueue)
            first = [s for s in left if (_file(s) in WAITING) == (node is self._waits)]
            return (first or left)[0]

        def _browsers(self) -> list[str]:
            return [scope for scope in self.workqueue if _has_browser(_file(scope))]

    config.option.loadscopereorder = False
    return Files()


_seconds: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[_file(report.nodeid).partition("/")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if len(_seconds) > 1:
        parts = ", ".join(f"{folder} {_seconds[folder]:.0f}" for folder in sorted(_seconds))
        terminalreporter.write_line(f"seconds in the tests of each folder: {parts}")
