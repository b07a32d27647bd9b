"""Everybody that the site asks, against everything that they may answer: one table.

A new call to the outside belongs into `tests/live/hostile_calls.py`; the first test finds it.
"""

from __future__ import annotations

import ast
import asyncio
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from marketplace.formats import plain
from tests import factories
from tests.live import hostile_calls_broker, hostile_calls_inference, hostile_calls_tuning
from tests.live.hostile import ATTACKS, Hostile
from tests.live.hostile_calls import CALLS, TAKEN, Call
from tests.live.hurry import hurry

assert all((hostile_calls_broker, hostile_calls_inference, hostile_calls_tuning))  # fill CALLS
pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
APPS = (
    *("accounts", "alerts", "attestation", "chain", "finetune", "inference", "ledger"),
    *("marketplace", "moderation", "net", "operators", "ops", "probes", "protocol", "provider"),
)
SLOW = (
    *("silence", "slow_headers", "slow_body", "slow_events", "stalled_body", "endless_continue"),
)
LARGE = (
    *("endless_body", "endless_events", "endless_line", "endless_refusal", "huge_length"),
    *("endless_headers", "huge_header", "many_headers"),
    *("gzip_bomb", "deflate_bomb", "gzip_bomb_refusal"),
)
ELSEWHERE = ("redirect_inside", "redirect_next_door", "redirect_scheme", "redirect_loop")
BROKEN = (
    *("brotli", "gzip_twice", "gzip_garbage", "short_body", "two_lengths", "negative_length"),
    *("chunk_garbage", "chunk_overflow", "no_http", "upgrade", "hangs_up", "resets"),
)
ODD = tuple(name for name in ATTACKS if name not in (*SLOW, *LARGE, *ELSEWHERE, *BROKEN))
#: Not calls to a stranger, and why.
EXEMPT = {
    "net/client.py:__init__": "the guarded client itself",
    "net/client.py:resolve": "the guarded client itself",
    "net/names.py:_ask": "the guarded client's lookup",
    "alerts/deliver.py:send_mail": "the host's own mail server; see test_hostile_mail.py",
    "alerts/deliver.py:_mail": "the same",
    "alerts/mailbox.py:ask": "the same",
    "chain/heads.py:session": "opened here, used by _listen",
    "provider/serve.py:run": "sessions, opened here and used below",
    "provider/tuning/serve.py:run": "sessions, opened here and used below",
    "provider/checks/__init__.py:look": "a session, opened here and used below",
    "provider/checks/outside.py:_tls": "a handshake with its own public URL, within SECONDS",
    "marketplace/seed.py:ask": "the demo at its own devnet",
    "marketplace/seed.py:listed": "the demo at its own devnet",
    "marketplace/seed_tuning.py:_call": "the demo at its own devnet",
}
#: Words that open a connection, or look a name up.
OPENS = re.compile(
    r"^(aiohttp\.ClientSession|http\.client\.HTTPS?Connection|(urllib\.request\.)?urlopen"
    r"|socket\.(socket|create_connection|getaddrinfo)|asyncio\.open_connection|smtplib\.\w+"
    r"|requests\.(get|post|put|request|Session)|httpx\.\w+|websockets\.\w+"
    r"|EmailMessage|(\w+\.)?send_mail)$"
)
THROUGH = re.compile(r"(^|[._])client\.(open|get_json)$")
METHODS = re.compile(r"\.(ws_connect|getaddrinfo|look_up)$")
#: The broker's, on aiohttp itself.
SESSION = re.compile(r"^(self\._)?session\.(get|post|put|request)$")


def connections(path: Path) -> Iterator[str]:
    """`path:function` of everything in a file that opens a connection."""
    name = path.relative_to(ROOT).as_posix()

    def look(node: ast.AST, inside: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            within = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else ""
            if isinstance(child, ast.Call):
                called = ast.unparse(child.func)
                broker = name.startswith("provider/") and SESSION.match(called)
                known = (OPENS.match(called), THROUGH.search(called), METHODS.search(called))
                if broker or any(known):
                    yield f"{name}:{inside}"
            yield from look(child, within or inside)

    return look(ast.parse(path.read_text()), "")


def test_every_call_to_the_outside_is_in_the_table() -> None:
    found = {
        site
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
        if "/migrations/" not in path.as_posix()
        for site in connections(path)
    }
    tried = {site for call in CALLS for site in call.sites}
    wrong = [f"{site}: not in tests/live/hostile_calls.py" for site in found - tried - set(EXEMPT)]
    wrong += [f"{site}: in the table, but gone" for site in (tried | set(EXEMPT)) - found]
    none(sorted(wrong))


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@pytest.fixture(autouse=True)
def alice() -> User:
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)
    return User.objects.for_address(factories.ALICE)


async def ended(call: Call, url: str) -> str:
    """Its words; whatever it raises is a word too, and a wrong one."""
    try:
        async with asyncio.timeout(7_200):  # a guard: far beyond every limit of ours
            return await call.ask(url)
    except TimeoutError:
        return "it never ended"
    except Exception as error:
        return f"raised {error!r:.200}"


def none(wrong: list[str]) -> None:
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


async def tried(hostile: Hostile, pairs: Iterable[tuple[Call, str]], wanted: str) -> None:
    """All of them at once; a line for each whose words are not those of the table."""
    few = asyncio.Semaphore(24)

    async def one(call: Call, attack: str) -> str:
        async with few:
            said = await ended(call, hostile.url(attack))
        right = getattr(call, wanted)
        good = re.search(right, said) and not said.startswith(("raised", "it never ended"))
        return "" if good else f"{call.name} × {attack}: {said!r:.200} is not /{right}/"

    wrong = await asyncio.gather(*(one(call, attack) for call, attack in pairs))
    none([line for line in wrong if line])
    assert hostile.visits == 0, "somebody was led to where nobody may go"


def pairs(attacks: Iterable[str], calls: Iterable[Call] = CALLS) -> list[tuple[Call, str]]:
    return [(call, attack) for call in calls for attack in attacks]


# A node has no patience of asyncio: its threads wait in real seconds, one by default here.


@pytest.mark.parametrize(("factor", "patient"), [(50, False), (200, True)])
async def test_who_never_answers_is_left(hostile: Hostile, factor: int, patient: bool) -> None:
    """By the limits that are really set, on a clock that runs faster."""
    mine = [call for call in CALLS if call.patient == patient and call.name != "node"]
    with hurry(factor):
        await tried(hostile, pairs(SLOW, mine), "slow")


async def test_a_node_that_never_answers_is_left(hostile: Hostile) -> None:
    await tried(hostile, pairs(SLOW, [c for c in CALLS if c.name == "node"]), "slow")


def peak() -> int:
    """The most memory since `forget`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def test_what_has_no_end_is_cut_off_and_not_kept(hostile: Hostile) -> None:
    """One after the other: what each holds at most is measured."""
    for call in CALLS:
        forget()
        before = peak()
        for attack in LARGE:
            with hurry(400 if call.patient else 5):
                await tried(hostile, [(call, attack)], "large")
        grown = (peak() - before) >> 20
        assert grown <= call.megabytes, f"{call.name} held {grown} MB"
    while hostile.open:  # every connection was closed by us: else this never ends
        await asyncio.sleep(0.01)


async def test_what_is_no_http_or_breaks_off_is_said_so(hostile: Hostile) -> None:
    with hurry(8):  # some try again, after a pause
        await tried(hostile, pairs(BROKEN), "broken")


async def test_nobody_is_led_elsewhere(hostile: Hostile) -> None:
    await tried(hostile, pairs(ELSEWHERE), "elsewhere")


@pytest.mark.parametrize("attack", ODD)
async def test_answers_that_mean_nothing_are_read_and_bounded(
    hostile: Hostile, attack: str
) -> None:
    """Deep, huge, unreadable, hostile: no call raises, and what it repeats fits a page."""
    wrong = []
    for call in CALLS:
        with hurry(200):
            said = await ended(call, hostile.url(attack))
        fits = said and len(said) <= 20_000 and "\x00" not in said
        safe = not re.search("[\x07\x1b\u202e\u2066]", plain(said))
        if said.startswith(("raised", "it never ended")) or not (fits and safe):
            wrong.append(f"{call.name}: {said!r:.300}")
    none(wrong)


# --- where nobody may go --------------------------------------------------------------------------

#: `{port}` is a service of this machine that counts its visitors.
ADDRESSES = (
    *("127.0.0.1:{port}", "localhost:{port}", "a.localhost:{port}", "127.0.0.1.:{port}"),
    *("127.1:{port}", "2130706433:{port}", "0x7f000001:{port}", "0x7f.1:{port}"),
    *("0177.0.0.1:{port}", "017700000001:{port}", "0.0.0.0:{port}", "0:{port}"),
    *("[::1]:{port}", "[::]:{port}", "[::ffff:127.0.0.1]:{port}", "[::ffff:7f00:1]:{port}"),
    *("[::127.0.0.1]:{port}", "[64:ff9b::7f00:1]:{port}", "[2002:7f00:1::]:{port}"),
    *("[0:0:0:0:0:ffff:127.0.0.1]:{port}", "[fe80::1%25lo]:{port}", "[fe80::1]", "[fc00::1]"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "[fd00:ec2::254]"),
    *("100.64.0.1", "192.0.0.192", "168.63.129.16", "224.0.0.1", "255.255.255.255"),
    *("metadata.google.internal", "printer.local", "user@127.0.0.1:{port}", "127.0.0.1:25"),
    *("mixed.example:{port}", "inside.example:{port}", "mapped.example:{port}"),
    *("translated.example:{port}", "link.example:{port}"),
)
NAMES = {
    "mixed.example": ("93.184.216.34", "127.0.0.1"),
    "inside.example": ("127.0.0.1",),
    "mapped.example": ("::ffff:127.0.0.1",),
    "translated.example": ("64:ff9b::7f00:1",),
    "link.example": ("fe80::1%lo",),
}


Names = dict[str, list[tuple[str, ...]]]


def known(names: Names) -> Any:
    """The name service is the stranger's: each question may have another answer."""

    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *given: Any, **more: Any) -> Any:
        answers = names.get(host)
        if answers is None and not str(host).endswith(".example"):
            return real(host, port, *given, **more)  # our own stores
        if answers is None:
            raise socket.gaierror("no such name")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        kinds = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in found]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (one, port))
            for kind, one in zip(kinds, found, strict=True)
        ]

    return getaddrinfo


async def test_no_address_leads_inside(
    hostile: Hostile, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = False
    names: Names = {name: [found] for name, found in NAMES.items()}
    monkeypatch.setattr(socket, "getaddrinfo", known(names))
    port, wrong = hostile.ports["forbidden"], []
    with hurry(50):  # some try again, after a pause
        for call in (one for one in CALLS if not one.chosen):
            for address in ADDRESSES[:: 6 if call.costly else 1]:
                said = await ended(call, f"http://{address.format(port=port)}")
                if not re.search(call.refused, said) or said.startswith((TAKEN, "raised")):
                    wrong.append(f"{call.name} × {address}: {said!r:.160}")
    none(wrong)
    assert hostile.visits == 0


async def test_a_name_that_changes_after_it_was_judged_is_judged_again(
    hostile: Hostile, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setup check looks the name up itself, and shows what it finds; then the client does."""
    settings.ALLOW_PRIVATE_PROVIDERS = False
    names: Names = {"turns.example": [("93.184.216.34",), ("127.0.0.1",)]}
    monkeypatch.setattr(socket, "getaddrinfo", known(names))
    (call,) = [call for call in CALLS if call.name == "setup_check"]
    said = await call.ask(f"http://turns.example:{hostile.ports['forbidden']}")
    assert "dns: " not in said and "models: Its URL leads to no public address." in said
    assert hostile.visits == 0
