"""Every call that the site makes to somebody else, as one function each: ask the place at `url`,
and say in words how it ended. `Call.sites` are the functions of the source that open a connection.

Those of inference, of fine-tuning and of the broker have files of their own beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts import crypto, spendable
from accounts.models import ProviderKey
from alerts import deliver, signing, telegram
from alerts.models import Delivery, Hook
from attestation import challenge, declared, evaluate, trust
from attestation.models import Trigger
from attestation.selectors import ServiceKey
from attestation.sources.fetch import Fetcher, Request
from attestation.sources.records import Sources
from chain.errors import ChainError
from chain.heads import Heads, session
from chain.rpc import Rpc
from ledger.records import Listing
from net.addresses import Policy
from net.client import Client
from net.errors import BadStatus, NetError
from operators import debts, profile_domain, setup_checks
from operators.setup_results import Subject
from probes import asking as probes
from probes import dollars, exchange
from tests import factories

JSON = "application/json"
HASH = "0x" + "ab" * 32
TASK = UUID("12345678-1234-5678-1234-567812345678")
#: What a call says when nothing was wrong with HTTP: it took the answer for one.
TAKEN = "taken"
Ask = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class Call:
    """`slow`: the text of an answer that never comes; `large` of one without an end, `broken` of
    one that is no HTTP or breaks off, `elsewhere` of a redirect. Regular expressions.

    `chosen`: whoever hosts the site chose the place, so its address is no stranger's.
    """

    name: str
    ask: Ask
    sites: tuple[str, ...]
    slow: str = "no answer within"
    large: str = "more than|too large|not valid HTTP|status 500"
    broken: str = (
        "not valid HTTP|cannot be read|ended before|in the middle|not asked for|no connection"
    )
    elsewhere: str = "redirect|status 307"
    refused: str = (
        "not a public address|private network|plain IPv4|user name|another kind of service"
    )
    chosen: bool = False
    #: May take so many seconds that its clock has to run faster.
    patient: bool = False
    #: Costs the test much: rows, a process of its own.
    costly: bool = False
    #: What it may hold of an answer, megabytes.
    megabytes: int = 96


CALLS: list[Call] = []


def same(words: str) -> dict[str, str]:
    """The same words for everything that can go wrong."""
    return dict.fromkeys(("slow", "large", "broken", "elsewhere", "refused"), words)


def call(*sites: str, **words: Any) -> Callable[[Ask], Ask]:
    def kept(ask: Ask) -> Ask:
        CALLS.append(Call(ask.__name__, ask, sites, **words))
        return ask

    return kept


def policy() -> Policy:
    return Policy(allow_private=settings.ALLOW_PRIVATE_PROVIDERS)


def listing(url: str, **given: Any) -> Listing:
    values: dict[str, Any] = {
        "kind": "inference",
        "provider": factories.PETRA,
        "service_name": "inference-v1.0",
        "serving": factories.INFERENCE,
        "recommended": True,
        "service_type": "chatbot",
        "url": url,
        "model": "test-model",
        "verifiability": "TeeML",
        "additional_info": '{"TEEVerifier": "dstack", "ProviderType": "decentralized"}',
        "quota": None,
        "models": (),
        "tee_signer": factories.address("signer"),
        "tee_signer_acknowledged": True,
        "occupied": False,
        "removed": False,
        "pending": False,
    }
    numbers = {f.name: 0 for f in fields(Listing) if f.name not in values}
    return Listing(**{**numbers, **values, **given})


async def words(asked: Awaitable[Any]) -> str:
    """How it ended; what a provider may make a function raise is a NetError with a sentence."""
    try:
        found = await asked
    except BadStatus as error:
        return f"status {error.status}"
    except NetError as error:
        return str(error)
    return f"{TAKEN}: {str(found)[:300]}"


# --- accounts and alerts --------------------------------------------------------------------------


@call(
    "accounts/spendable.py:_fetch",
    slow="did not answer in time",
    large="not an amount|refused to say",
    broken="not an amount|did not answer in time",
    elsewhere="not an amount|refused to say",
    refused="did not answer in time",
)
async def unsettled_fee(url: str) -> str:
    key = ProviderKey(sealed=crypto.seal("app-sk-0.0"))

    def ask() -> str:
        return spendable._asked(url, factories.ALICE, key).why

    return await asyncio.to_thread(ask)


@call(
    "alerts/deliver.py:_post",
    # Its status has come: the message arrived, whatever becomes of the body.
    slow=f"no answer within|{TAKEN}",
    large=f"headers are too large|not valid HTTP|status 500|{TAKEN}",
    broken=f"not valid HTTP|ended before|{TAKEN}",
)
async def webhook(url: str) -> str:
    hook = Hook(url=url, sealed_secret=crypto.seal(signing.new_secret()))
    delivery = Delivery(hook=hook, created_at=timezone.now())
    async with Client(policy(), deliver._LIMITS) as client:
        found = await deliver._post(client, delivery)
    assert len(found.said.encode()) <= 4 * deliver._KEPT
    return f"{TAKEN}: {found.said}" if found.ok else f"status {found.status}: {found.said}"


@call("alerts/telegram.py:_ask", chosen=True, broken=f"{Call.broken}|not JSON")
async def telegram_bot(url: str) -> str:
    try:
        async with Client(telegram.POLICY, telegram.LIMITS) as client:
            return f"{TAKEN}: {await telegram._ask(client, url, text='hello')!r:.300}"
    except telegram.Refusal as refusal:
        return f"status {refusal.status}: {refusal}"


# --- attestation ----------------------------------------------------------------------------------


@call("attestation/asking.py:_once")
async def evidence(url: str) -> str:
    target = evaluate.Target(
        key=ServiceKey("inference", factories.PETRA, "inference-v1.0"),
        block=1,
        url=url,
        model="test-model",
        verifiability="TeeML",
        additional_info="",
        signer=factories.address("signer"),
        acknowledged=True,
        declared=declared.of("TeeML", listing(url).additional_info),
        payable={},
    )
    async with Client(trust.provider_policy()) as client:
        (draft,) = await evaluate.every_endpoint(client, target, Trigger.ASKED)
    said = str(draft.columns.get("error", ""))
    return said or f"{TAKEN}: {draft.outcome} {draft.report.overall}"


@call("attestation/sources/fetch.py:_once")
async def vendor(url: str) -> str:
    sources = Sources(policy=policy())
    async with Client(sources.policy) as client:
        found = await Fetcher(client, sources).ask(Request("rim", "k", f"{url}/v1/rim/k"))
    return found.error or TAKEN


@call("attestation/challenge.py:_exchange")
async def key_challenge(url: str) -> str:
    service = vars(listing(url))
    async with Client(policy()) as client:
        return await words(challenge._exchange(client, service, "app-sk-0", "00" * 32, b"{}"))


@call("attestation/challenge.py:_signature")
async def challenge_signature(url: str) -> str:
    async with Client(policy()) as client:
        return await words(challenge._signature(client, f"{url}/v1/proxy/signature/x"))


# --- probes and operators -------------------------------------------------------------------------


_LOOKS = "timeout|unreachable|broken|odd|error|address|tls"


@call(
    "probes/asking.py:_listed",
    **same(_LOOKS),
)
async def probe(url: str) -> str:
    async with Client(policy()) as client:
        found = await probes._listed(client, listing(url))
    return found.failure or TAKEN


_NONE = "None|False"


@call(
    "probes/asking.py:_forbidden",
    **same(_NONE),
)
async def robots(url: str) -> str:
    async with Client(policy()) as client:
        return str(await probes._forbidden(client, probes.Target(listing(url))))


@call(
    "probes/asking.py:_cors",
    **same(_NONE),
)
async def preflight(url: str) -> str:
    async with Client(policy()) as client:
        return str(await probes._cors(client, listing(url)))


@call(
    "probes/asking.py:_spoken",
    **same("failed=True|NONE|None"),
)
async def speed(url: str) -> str:
    async with Client(policy()) as client:
        return str(await probes._spoken(client, probes.Target(listing(url))))


@call("probes/exchange.py:_fetched", chosen=True)
async def dollars_of(url: str) -> str:
    async def price() -> dollars.Price:
        return dollars.read(await exchange._fetched(url), "a.example", timezone.now())

    return await words(price())


_CHECKS = (
    "(?i)no answer|answers|before|reports an error"
    "|public address|private network|plain IPv4|user name|kind of service"
)


@call(
    "operators/setup_checks.py:dns",
    **same(_CHECKS),
)
async def setup_check(url: str) -> str:
    found = [await setup_checks.dns(url)]
    if found[0].state != "bad":
        subject = Subject(listing(url), published=False, block=1)
        async with Client(policy()) as client:
            look = await probes.look(client, setup_checks._target(subject))
        found += [setup_checks.tls(look), *setup_checks.answers(look)]
    bad = [f"{one.id}: {one.found}" for one in found if one.state in ("bad", "warn")]
    return "; ".join(bad) or TAKEN


@call(
    "operators/profile_domain.py:look",
    elsewhere="redirect|status 307",
)
async def domain(url: str) -> str:
    found = await profile_domain.look(url.partition("://")[2], factories.PETRA)
    assert found.found is not True
    return found.note


_DEBT = "no usable answer|it answered"


@call(
    "operators/debts.py:_one",
    **same(_DEBT),
)
async def debt(url: str) -> str:
    (row,) = await debts.ask([listing(url)])
    return row.error


# --- chain ----------------------------------------------------------------------------------------

#: Short, because it is the host's own setting and the threads that wait are the test's.
RPC_SECONDS = 1.0
_NODE = {
    "slow": "timed out|no complete answer|TimeoutError",
    "large": "over 192 MiB|no complete answer|got more than|HTTP 500|not JSON|timed out",
    "broken": "BadStatusLine|not JSON|IncompleteRead|Remote|ConnectionReset|HTTP 101"
    "|does not match the batch",
    "elsewhere": "HTTP 307",
}


@call("chain/endpoint.py:_connect", chosen=True, megabytes=448, **_NODE)
async def node(url: str) -> str:
    def ask() -> str:
        rpc = Rpc([url], chain_id=31337, timeout=RPC_SECONDS)
        try:
            return f"{TAKEN}: {rpc.ask('eth_blockNumber')!r:.100}"
        except ChainError as error:
            return f"{type(error).__name__}: {error}"[:400]

    return await asyncio.to_thread(ask)


@call(
    "chain/heads.py:_listen",
    chosen=True,
    **same("None -1"),
)
async def heads(url: str) -> str:
    listener = Heads([url.replace("http", "ws", 1)])
    async with session() as found:
        await listener._listen(found, listener.urls[0])
    return f"{listener.live} {listener.number}"
