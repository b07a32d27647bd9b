"""Limits hold when everybody comes at once, for each wallet and each address by itself, and every
refusal says what the limit is and when to come back."""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts import limits as accounts_limits
from accounts.errors import TooMany
from accounts.limits import spend
from accounts.siwe import MESSAGE_LIFETIME
from accounts.sockets import Doors
from inference.openai import app
from inference.openai.errors import ApiError
from inference.openai.reply import Reply
from ledger.models import Service
from marketplace import limits, presence, views_watch
from net import callers
from tests import factories

AT_ONCE, ALLOWED = 50, 17


def everybody(one: Any) -> int:
    """How many of so many that come together were let in."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(one, range(AT_ONCE)))


def test_a_window_lets_in_exactly_its_number_of_each_caller() -> None:
    name = secrets.token_hex(8)

    def spent(who: str) -> bool:
        try:
            spend(name, who, limit=ALLOWED, seconds=86_400)
        except TooMany as refused:
            assert refused.headers["RateLimit-Policy"] == f'"{name}";q={ALLOWED};w=86400'
            assert 0 < int(refused.headers["Retry-After"]) <= 86_400
            return False
        return True

    for who in (factories.ALICE, factories.BOB, "192.0.2.1", "2001:db8::/64"):
        assert everybody(lambda _, who=who: spent(who)) == ALLOWED, who


def test_an_ipv6_network_has_so_many_shares_and_no_more() -> None:
    """A /48 costs nothing, and holds 65,536 customers."""
    name = secrets.token_hex(8)
    limit, doors = limits.Limit(name, per_minute=1, burst=1), Doors(1, 1_000)

    def spent(who: str) -> bool:
        try:
            spend(name, who, limit=1, seconds=86_400)
        except TooMany:
            return False
        return True

    for let_in in (spent, lambda who: limits.take(limit, who).allowed, doors.enter):
        inside = [let_in(f"2001:db8:0:{number:x}::/64") for number in range(callers.SHARES + 4)]
        assert inside == [True] * callers.SHARES + [False] * 4
        assert let_in("2001:db8:1::/64") and let_in("192.0.2.1") and let_in(factories.ALICE)
    few = Doors(10, 50)
    assert sum(few.enter(f"2001:db8:0:{n % 8:x}::/64") for n in range(80)) == 25, "half of all"
    assert few.enter("2001:db8:1::/64") and few.enter("192.0.2.1")
    doors.leave("2001:db8:0:3::/64")
    assert doors.enter("2001:db8:0:ffff::/64") and not doors.enter("2001:db8:0:fffe::/64")


def test_a_clock_that_is_set_back_shuts_nobody_out() -> None:
    """Buckets are filled by the clock of Redis: one from an hour ahead is a bucket that is empty
    now, and no emptier."""
    limit = limits.Limit(secrets.token_hex(8), per_minute=600, burst=600)
    key = f"limit:{limit.name}:{callers.tag('192.0.2.1', settings.SECRET_KEY)}"
    store = presence.client()
    seconds, _ = store.time()
    store.set(key, f"{(seconds + 3_600) * 1_000:.3f}", ex=3_600)
    found = limits.take(limit, "192.0.2.1")
    assert (found.allowed, found.remaining, found.retry_s) == (False, 0, 1)
    assert found.reset_s == 60


def test_a_bucket_lets_in_exactly_its_burst() -> None:
    # One comes back in a month: none while the test runs.
    limit = limits.Limit(secrets.token_hex(8), per_minute=1, burst=ALLOWED)
    slow = limits.Limit(limit.name, 1, ALLOWED)
    for who in ("192.0.2.1", "192.0.2.2"):
        seen = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            seen = list(pool.map(lambda _, who=who: limits.take(slow, who), range(AT_ONCE)))
        # A unit flows back each minute.
        assert sum(one.allowed for one in seen) in (ALLOWED, ALLOWED + 1)
        refused = next(one for one in seen if not one.allowed)
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(refused.headers)


async def test_the_relay_lets_in_exactly_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    who, minute = secrets.token_hex(8), int(time.time()) // 60
    # The last second of a minute, held still as for every limit (conftest.one_window).
    clock = SimpleNamespace(time=lambda: minute * 60 + 59)
    monkeypatch.setattr(accounts_limits, "time", clock)

    async def ask() -> tuple[bool, dict[str, str]]:
        async def send(_: object) -> None: ...

        reply = Reply(send, {})
        try:
            await app._count(reply, who, ALLOWED)
        except ApiError as refused:
            assert refused.status == 429 and int(refused.headers["retry-after"]) > 0
            return False, reply._headers
        return True, reply._headers

    seen = await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    assert sum(good for good, _ in seen) == ALLOWED
    assert {said["x-ratelimit-reset-requests"] for _, said in seen} == {"1s"}
    assert all(said["x-ratelimit-limit-requests"] == str(ALLOWED) for _, said in seen)


async def test_an_ipv6_network_has_so_many_shares_of_the_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "LOOK_UPS_PER_MINUTE", 1)
    network = f"2001:db8:{secrets.randbelow(65_536):x}"

    async def looked_up(remote: str) -> bool:
        reply: Any = SimpleNamespace(add=lambda _: None)
        receive: Any = None
        try:
            await app._look_up(app._Visit("GET", "models", {}, remote, receive, reply))
        except ApiError as refused:
            return refused.status != 429
        return True

    inside = [await looked_up(f"{network}:{n:x}::1") for n in range(callers.SHARES + 4)]
    assert inside == [True] * callers.SHARES + [False] * 4
    other = ip_address(198 << 24 | 18 << 16 | secrets.randbelow(1 << 16))
    assert await looked_up(str(other))


def test_every_refusal_says_what_the_limit_is(db: None, client: Client) -> None:
    asked = {"address": factories.ALICE}
    for _ in range(1_000):
        answer: Any = client.post(
            "/account/sign-in/prepare",
            asked,
            content_type="application/json",
            REMOTE_ADDR="198.51.100.77",
        )
        if answer.status_code == 429:
            break
    assert answer.status_code == 429 and answer.json()["code"] == "too_many_requests"
    assert int(answer["Retry-After"]) > 0
    assert ";q=" in answer["RateLimit-Policy"] and ";r=0;t=" in answer["RateLimit"]


@pytest.mark.parametrize("path", ["/search?q=fee", "/palette?q=fee", "/docs?q=fee"])
def test_questions_have_a_limit_of_their_own(db: None, client: Client, path: str) -> None:
    who = f"198.51.100.{secrets.randbelow(256)}"
    for _ in range(100):  # one comes back every moment: until the door finds none left
        while limits.take(limits.SEARCH, who).allowed:
            pass
        answer = client.get(path, REMOTE_ADDR=who)
        if answer.status_code == 429:
            break
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    assert answer["RateLimit-Policy"] == '"search";q=300;w=60' and "r=0" in answer["RateLimit"]
    assert client.get(path.partition("?")[0], REMOTE_ADDR=who).status_code == 200, "reading is free"
    assert client.get(path, REMOTE_ADDR="203.0.113.9").status_code == 200, "so are others"


def test_what_anybody_may_begin_takes_room_for_minutes_or_is_counted(
    db: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.market(1)
    service = Service.current.all()[0]
    asked, listed = {"address": factories.ALICE}, {"watch": f"{service.kind}/{service.provider}"}

    def begin() -> None:
        answer = client.post("/account/sign-in/prepare", asked, content_type="application/json")
        assert answer.status_code == 200

    begin()
    left = client.session.get_expiry_date() - timezone.now()
    assert 1.5 * MESSAGE_LIFETIME < left <= 2 * MESSAGE_LIFETIME, "who signs too late reads why"
    # A list of what somebody watches lives on, whichever of the two was first.
    for _ in range(2):
        assert client.post("/watch", listed).status_code == 302
        assert client.session.get_expiry_age() > 86_400
        begin()
        assert client.session.get_expiry_age() > 86_400
    monkeypatch.setattr(views_watch, "BEGUN_PER_HOUR", 0)
    assert client.post("/watch", listed).status_code == 302
    client = Client()
    begin()  # nor is the way round by what waits for a signature
    for other in (Client(), Client(headers={"Cookie": "sessionid=nobodys"}), client):
        assert other.post("/watch", listed).status_code == 429


async def test_counters_name_nobody(settings: Any) -> None:
    """Who is counted stands in the store as a keyed hash: of an address, for a day at most."""
    who = f"198.51.100.{secrets.randbelow(256)}"
    name = secrets.token_hex(8)
    await asyncio.to_thread(spend, name, who, limit=1, seconds=86_400)
    assert limits.take(limits.Limit(name, 60, 10), who).remaining == 9
    assert limits.take(limits.Limit(name, 60, 10), f"{who}1").remaining == 9
    reply: Any = SimpleNamespace(add=lambda _: None)
    await app._count(reply, who, 10)
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        keys = [key.decode() for key in store.scan_iter("*limit:*", count=1_000)]
    assert len([key for key in keys if name in key]) == 3 and any(
        "limit:v1:" in key for key in keys
    )
    assert not [key for key in keys if who in key]
    tags = {callers.tag(text, secret) for text in (who, f"{who}1") for secret in ("a", "b")}
    assert len(tags) == 4
