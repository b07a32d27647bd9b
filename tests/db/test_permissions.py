"""Who gets which answer at which address: one table over every path of the site.

`tests/db/permissions.txt` has a line for each method and pattern; a new one that is not in it fails
the first test, which says what the line would be. Read it before you add it.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from accounts import roles
from accounts.models import AccessToken, ProviderKey, SignIn
from accounts.roles import Role
from net import stores
from tests.db.permission_world import CANARY, VISITORS, World, routes

pytestmark = pytest.mark.django_db
TABLE = Path(__file__).with_name("permissions.txt")
#: In the table: this visitor's request is proven elsewhere (it needs a provider or a chain).
ELSEWHERE = "-"
# Its lines WS and V1 (websockets and the relay) are read by tests/live/test_permission_doors.py.
#: The method is none of the door's, whoever knocks.
REFUSED = ("405",) * len(VISITORS)
#: The last of them, who are more than somebody signed in.
STAFF = ("operator", "moderator", "admin", "auditor")
#: Whoever knows such an address may read there: the address is the secret.
CAPABILITIES = {"account/feed/<str:token>.atom", "shared/<str:token>"}


def table() -> dict[tuple[str, str], tuple[str, ...]]:
    """`{(method, route): a status per visitor}`."""
    found = {}
    for line in TABLE.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            method, route, *said = line.split()
            statuses = tuple(said) if len(said) > 1 else tuple(said) * len(VISITORS)
            assert len(statuses) == len(VISITORS), line
            assert (method, route) not in found, f"twice: {line}"
            found[method, route] = statuses
    return found


#: Whose pages are full below an address; elsewhere Alice's.
KEEPERS = {"operator": "operator", "ops": "admin", "moderation": "moderator"}
#: What reads count and end at a limit: refused where nobody can count.
COUNTED = {
    "fine-tuning/datasets/<uuid:dataset_id>/publish",
    "moderation/log.json",
    "operator/earnings.csv",
    "operator/listing/<slug:kind>/remove",
    "operator/settlements.csv",
    "operator/settlements.json",
    "shared/<str:token>",
}


@pytest.fixture
def world(db: None, settings: Any, quick_passwords: None) -> World:
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)
    return World()


def own(route: str) -> bool:
    """Paths of the table; those of `/admin/` follow one rule and have a test of their own."""
    return not route.startswith("admin/")


def spelled(route: str) -> str:
    return route or "(home)"


def open_to_staff(method: str, line: tuple[str, ...] | None) -> bool:
    """A page for anybody who is signed in, whatever else they are."""
    return method == "GET" and line is not None and set(line[-len(STAFF) :]) == {"200"}


def test_every_path_answers_everybody_as_the_table_says(world: World) -> None:
    wanted, wrong, leaks = table(), [], []
    known = {route for route in routes() if own(route)}
    mine = {route for method, route in wanted if method in ("GET", "POST")}
    gone = mine - {spelled(route) for route in known}
    assert not gone, f"in the table, but not on the site: {sorted(gone)}"
    doors = [(method, route) for route in sorted(known) for method in ("GET", "POST")]
    doors.sort(key=lambda door: open_to_staff(door[0], wanted.get((door[0], spelled(door[1])))))
    together = False
    for method, route in doors:
        line = wanted.get((method, spelled(route)))
        # Not in the table: then nobody may post there at all.
        if line is None and method == "POST" and world.refuses("admin", method, route):
            continue
        # Nobody at all, by the table too: a program's answer says the same without a page.
        if line == REFUSED and all(world.refuses(who, method, route) for who in VISITORS):
            continue
        # Open to all of the staff: one person who is all of them draws each part that one would.
        if open_to_staff(method, line) and not together:
            together = True
            for role in Role:
                roles.give(world.users[STAFF[0]], role)
        seen = list[str]()
        for place, visitor in enumerate(VISITORS):
            if together and visitor in STAFF[1:]:
                seen.append(seen[-1])
                continue
            if line is not None and line[place] == ELSEWHERE:
                seen.append(ELSEWHERE)
                continue
            # Where nothing is to be found, and where an act is refused, a program's answer says
            # so in the words of the page, which need not be drawn.
            expected = line[place] if line is not None else ""
            short = expected == "404" or (method == "POST" and expected[:1] in ("4", "5"))
            accept = "application/json" if short else "*/*"
            status, body = world.ask(visitor, method, route, accept)
            seen.append(str(status))
            if visitor != "user" and CANARY.encode() in body and route not in CAPABILITIES:
                leaks.append(f"{visitor} reads Alice's at {method} {route}")
        if tuple(seen) != line:
            said = seen if len(set(seen)) > 1 else seen[:1]
            wrong.append(f"{method} {spelled(route)} {' '.join(said)}")
    assert not leaks, "\n".join(leaks)
    assert not world.shared, f"may be kept by a shared cache: {sorted(world.shared)}"
    assert not wrong, "not as in tests/db/permissions.txt:\n" + "\n".join(wrong)


def test_nobody_acts_on_what_is_somebody_elses(world: World) -> None:
    """The doors that answer with a redirect whatever they found: nothing has changed."""
    before = [list(model.objects.order_by("pk").values()) for model in (AccessToken, ProviderKey)]
    signed = SignIn.objects.filter(user=world.alice).count()
    for visitor in VISITORS:
        if visitor == "user":
            continue
        client = world.clients[visitor]
        for route in (
            "account/tokens/<int:token_id>/revoke",
            "account/keys/<int:key_id>/forget",
            "account/sessions/<int:sign_in_id>/end",
            "account/tokens/<int:token_id>/rotate",
        ):
            client.post(world.path(route))
    after = [list(model.objects.order_by("pk").values()) for model in (AccessToken, ProviderKey)]
    assert after == before
    assert SignIn.objects.filter(user=world.alice).count() == signed


def test_admin_pages_send_everybody_but_staff_away(world: World) -> None:
    """Every pattern below /admin/, for those who have no business there."""
    open_doors = {"admin/login/", "admin/logout/", "admin/jsi18n/"}
    paths = {
        route.replace("<path:object_id>", "1").replace("<int:content_type_id>", "1")
        for route in routes()
        if not own(route) and route not in open_doors
    }
    assert len(paths) > 100
    kinds = set[str]()
    for path in sorted(paths):
        if "(" in path or "<" in path:
            continue
        # Every door has the same guard (a moderator comes nearest to passing it); whom it knows is
        # tried once for each model and for each kind of page.
        kind = path.strip("/").rpartition("/")[2]
        everybody = ("anonymous", "user", "operator", "moderator")
        for visitor in everybody[-1:] if kind in kinds else everybody:
            answer = world.clients[visitor].get(f"/{path}")
            assert answer.status_code in (302, 404), (visitor, path)
            if answer.status_code == 302:
                assert answer["Location"].startswith(("/admin/login/", "/ops/sign-in", "/admin/"))
        kinds.add(kind)


def test_what_can_be_read_is_read_while_redis_is_away(
    world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docs/faults.md: money and conversations are in PostgreSQL, so their pages need no Redis."""
    away = "redis://127.0.0.1:1/0"
    settings.REDIS_URL = away
    settings.CACHES = {"default": stores.cache(away)}
    monkeypatch.setattr("net.cache.PAUSE", 0.0)  # every page asks again by itself
    monkeypatch.setattr("tests.db.permission_world.cache", Mock())  # nothing to clear
    refused = set()
    for (method, route), line in table().items():
        visitor = KEEPERS.get(route.partition("/")[0], "user")
        if method == "GET" and line[VISITORS.index(visitor)] == "200":
            seen, _ = world.ask(visitor, method, "" if route == "(home)" else route)
            if seen != 200:
                refused.add(route)
    assert refused == COUNTED | {"readyz"}  # which is there to say so


def test_a_redis_that_takes_connections_and_never_answers_costs_a_page_one_try(
    world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs rather than is away: only time tells, and every try would cost a page some."""
    monkeypatch.setattr("net.cache._asked_again", 0.0)
    monkeypatch.setattr("marketplace.announcements._believed", (0.0, []))
    monkeypatch.setattr("tests.db.permission_world.cache", Mock())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        settings.REDIS_URL, settings.CACHES = url, {"default": stores.cache(url)}
        assert stores.cache(url)["OPTIONS"]["socket_timeout"] == 1
        for route in ("", "providers"):
            assert world.ask("user", "GET", route)[0] == 200
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
