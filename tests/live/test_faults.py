"""Fault drills: what a person sees while a part of the site is away, and that nothing is lost.

docs/faults.md has the whole table; faults that have a test of their own elsewhere are not here.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.roles import Role
from accounts.session_store import name_of
from devnet import accounts as cast
from runner.postgres import EmbeddedPostgres
from runner.processes import free_port
from runner.valkey import EmbeddedValkey
from tests import database, factories
from tests.db.test_admin import member
from tests.db.test_keys_lasting import signed_in
from tests.forks import SITE

ROOT = Path(__file__).resolve().parent.parent.parent
LIVE_OFF = "Live updates are off"
AWAY = "The database does not answer just now. It usually returns within a minute."
WORLD = """
from tests import factories
factories.market()
"""


class Site:
    """The site as a host runs it: a web process of its own, its own database and Redis."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        database.migrated(folder / "pg")
        self.postgres = EmbeddedPostgres(folder / "pg", database=database.NAME).start()
        self.valkey = EmbeddedValkey().start()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            **{**os.environ, "NETWORK": "devnet", "SITE_URL": self.url},
            **{"DATABASE_URL": self.postgres.dsn, "REDIS_URL": self.valkey.url},
            **{"DATABASE_POOL_SIZE": "4", "CHAIN_RPC_URLS": "http://127.0.0.1:9"},
            **{"DJANGO_SETTINGS_MODULE": "marketplace.settings", "PYTHONPATH": str(ROOT)},
        }
        self.manage("shell", "--no-imports", "-c", WORLD)
        self.web = SITE.start(
            *("uvicorn", "marketplace.asgi:application"),
            *("--host", "127.0.0.1", "--port", str(port), "--ws", "websockets-sansio"),
            *("--lifespan", "on", "--log-level", "warning"),
            env=self.env,
        )
        until(lambda: self.get("/").status_code == 200)

    def manage(self, *command: str) -> str:
        code, said = SITE.run("manage", *command, env=self.env)
        assert code == 0, said
        return said

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, headers={"Accept": "text/html"}, timeout=60)

    @cached_property
    def token(self) -> str:
        """What forms and scripts of a page send along."""
        return str(self.get("/").cookies["csrftoken"])

    def sign_in(self) -> requests.Response:
        """A new visitor asks for a message to sign: it is kept in a session, which is a row."""
        return requests.post(
            f"{self.url}/account/sign-in/prepare",
            json={"address": cast.user(1).address},
            headers={"X-CSRFToken": self.token},
            cookies={"csrftoken": self.token},
            timeout=60,
        )

    def stop(self) -> None:
        self.web.terminate()
        self.web.wait()
        self.valkey.stop()
        self.postgres.stop()


def until(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it does; the bound only ends a hopeless wait."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError("it never happened")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """What a test takes away from it is there again for the next."""
    yield running
    if running.valkey.process.poll() is not None:  # type: ignore[union-attr]
        running.valkey.socket_dir.mkdir(mode=0o700)
        running.valkey.start()


PAGES = ("/", "/providers", "/models", "/changes", "/network", "/docs", "/verify", "/search?q=qwen")


def test_without_redis_pages_are_read_and_say_that_live_updates_are_off(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/")
    banner = page.locator("[data-live-off]")
    expect(banner).to_be_hidden()
    assert site.sign_in().status_code == 200
    site.valkey.stop()
    for path in PAGES:
        answer = site.get(path)
        assert answer.status_code == 200, path
    assert site.get("/healthz").status_code == 200
    # What has to count somebody is refused, and says when to come back.
    refused = site.sign_in()
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
    # The page that was open, and one that is opened now.
    expect(banner).to_be_visible(timeout=60_000)
    expect(banner).to_contain_text(LIVE_OFF)
    page.goto(f"{site.url}/providers/{factories.address(0)}")
    expect(banner).to_be_visible(timeout=60_000)


def test_while_the_database_restarts_pages_say_so_and_every_answer_was_kept(site: Site) -> None:
    """Readers and writers go on all the time. Whatever was answered with success is there after."""
    seen: list[tuple[int, str, str]] = []
    stored: list[str] = []
    going = threading.Event()
    going.set()

    def read() -> None:
        while going.is_set():
            answer = site.get("/providers")
            seen.append((answer.status_code, answer.text, answer.headers.get("Retry-After", "")))

    def write() -> None:
        while going.is_set():
            answer = site.sign_in()
            if answer.status_code == 200:
                stored.append(answer.cookies["sessionid"])

    assert site.token
    readers = [threading.Thread(target=work, daemon=True) for work in (read, read, write)]
    for reader in readers:
        reader.start()
    until(lambda: stored and any(status == 200 for status, *_ in seen))
    site.postgres.stop()
    until(lambda: any(status == 503 for status, *_ in seen))
    site.postgres.start()
    count = len(seen)
    until(lambda: any(status == 200 for status, *_ in seen[count + 2 :]))
    going.clear()
    for reader in readers:
        reader.join()
    assert {status for status, *_ in seen} == {200, 503}
    for status, text, retry in seen:
        if status == 503:
            assert AWAY in unescape(text) and "Request id" in text and int(retry) > 0
            assert "Traceback" not in text and 'class="panel error"' in text
    with psycopg.connect(site.postgres.dsn) as connection:
        kept = {key for (key,) in connection.execute("SELECT session_key FROM django_session")}
    assert stored and [key for key in stored if name_of(key) not in kept] == []


def test_a_clock_beside_the_chain_keeps_nobody_out_and_is_told_to_the_host(
    db: None, client: Any
) -> None:
    """Ten minutes behind the chain: its newest block is of the future."""
    ahead = int(timezone.now().timestamp()) + 600
    factories.head(indexed_timestamp=ahead)
    factories.contract()
    factories.service()
    page = client.get("/").content.decode()
    assert (
        "qwen/qwen-2.5-7b-instruct" in page and "-600" not in page and "in the future" not in page
    )
    person = signed_in(cast.user(1))  # message, signature and session by one clock
    assert cast.user(1).address[:6] in person.get("/account").content.decode()
    host = member(Role.ADMIN, "host")
    client.force_login(host)
    alarms = unescape(client.get("/ops").content.decode())
    assert 'data-alarm="clock"' in alarms
    assert re.search(
        r"This machine’s clock is (10|9) min behind the chain’s newest block\. Days that", alarms
    )
    factories.head()
    assert 'data-alarm="clock"' not in client.get("/ops").content.decode()


def test_a_disk_that_is_nearly_full_is_told_to_the_host_before_writes_fail(
    db: None, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is the system's: its answer is replaced, nothing of ours."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=100, used=97, free=3))
    factories.head()
    client.force_login(member(Role.ADMIN, "host"))
    page = client.get("/ops").content.decode()
    assert 'data-alarm="disk"' in page and "3 % of the web processes’ disk are free." in page
    assert client.get("/status").status_code == 200 and client.get("/").status_code == 200
