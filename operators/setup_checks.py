"""What stands between a listing and its first customer, looked at from outside: each check with
what was found and what to do.

The looks are those of the probes and of the verification, so what is green here is green there.
Nothing here raises for what a provider does, and nothing is stored as a probe or a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.translation import gettext_noop

from accounts import money
from accounts.preview_trust import MAX_INFO_BYTES
from attestation import declared, trust
from ledger.models import Service
from ledger.records import Listing
from net import addresses, names, strictjson
from net.client import Client
from net.errors import BadAnswer, BadUrl, Refused
from net.limits import JsonLimits
from operators import setup_evidence, words
from operators.listing import price_texts, unit_of
from operators.market import MOST, billed, rank
from operators.setup_results import Result, State, Subject
from probes import asking, seen
from probes.asking import Found
from probes.models import Speed
from protocol.abi import ZERO_ADDRESS

#: Fewer days left than this of a certificate is worth a word.
TLS_SOON = 14
RATIO = 10
_SHAPE = JsonLimits(max_depth=8, max_bytes=64 << 10)
_DNS_SECONDS = 5.0
#: Statuses that are about the key that came with the question.
_KEY_REFUSED = (401, 402, 403)
_LOOK_AT_LOG = gettext_noop("Look at the broker's log.")


async def results(subject: Subject) -> AsyncIterator[Result]:
    """Every check of `TITLES` once; those that need nobody come first."""
    yield stake(subject)
    yield info(subject.listing)
    yield price(subject.listing, await sync_to_async(rivals)(subject.listing))
    async with Client(trust.provider_policy(), connections=4) as client:
        named = await dns(subject.listing.url)
        yield named
        if named.state == "bad":
            for unasked in unreachable(subject.listing, named.found):
                yield unasked
        else:
            found = await asking.look(client, _target(subject))
            for one in (tls(found), *answers(found)):
                yield one
            found_evidence = await setup_evidence.drafts(client, subject)
            for one in setup_evidence.evidence(subject, found_evidence):
                yield one
    yield acknowledged(subject)


# --- what the chain says --------------------------------------------------------------------------


def stake(subject: Subject) -> Result:
    held = subject.listing.stake
    if not subject.published:
        return Result(
            "stake",
            "not_checked",
            gettext_noop("This is not published yet."),
            gettext_noop("The registration pays the stake."),
        )
    if held:
        return Result("stake", "ok", f"{money.short(held)} 0G.")
    return Result(
        "stake",
        "bad",
        gettext_noop("Our index knows of no stake for this service."),
        gettext_noop("Remove the service and register it again; the registration pays the stake."),
    )


def acknowledged(subject: Subject) -> Result:
    if not subject.published:
        return Result(
            "acknowledged",
            "not_checked",
            gettext_noop("This is not published yet."),
            gettext_noop(
                "After registering, ask the owner of the 0G contract to acknowledge your signer."
            ),
        )
    signer = subject.listing.tee_signer
    if subject.listing.tee_signer_acknowledged:
        return Result("acknowledged", "ok", words.ACKNOWLEDGED.format(signer=signer))
    return Result(
        "acknowledged",
        "bad",
        words.NOT_ACKNOWLEDGED.format(signer=signer),
        gettext_noop(
            "Ask the owner of the 0G contract. Changing model, type, verifiability, signer or "
            "additional information withdraws it again."
        ),
    )


def info(listing: Listing) -> Result:
    if listing.is_fine_tuning:
        return Result("info", "ok", gettext_noop("Fine-tuning listings have none."))
    text = listing.additional_info
    if not text.strip():
        return Result(
            "info",
            "warn",
            gettext_noop("It is empty: clients take you for a decentralized TEE provider."),
            gettext_noop("Say at least TEEVerifier and ProviderType."),
        )
    try:
        value = strictjson.loads(text.encode("utf-8", "replace"), _SHAPE)
    except BadAnswer as error:
        return Result(
            "info",
            "bad",
            words.UNREADABLE.format(error=error),
            gettext_noop("Publish a JSON object."),
        )
    if not isinstance(value, dict):
        return Result(
            "info",
            "bad",
            gettext_noop("It is JSON, but no object."),
            gettext_noop("Publish a JSON object: {…}."),
        )
    said = declared.of(listing.verifiability, text)
    if said.word == "separated" and not said.model_signer:
        return Result(
            "info",
            "bad",
            gettext_noop(
                "It says that the model runs in an enclave of its own, and not whose key that "
                "signs."
            ),
            gettext_noop("Add TargetTeeAddress."),
        )
    size = len(text.encode("utf-8", "replace"))
    said_of = words.ENTRIES.format(entries=len(value), size=f"{size:,}", most=f"{MAX_INFO_BYTES:,}")
    return Result("info", "ok", said_of)


def rivals(listing: Listing) -> tuple[int, ...]:
    """What others ask now for the same (1 query)."""
    rows = Service.current.filter(removed=False, kind=listing.kind)
    rows = rows.exclude(provider=listing.provider)
    if not listing.is_fine_tuning:
        rows = rows.filter(model=listing.model, service_type=listing.service_type)
    return tuple(rows.values_list(billed(listing)[-1][0], flat=True)[:MOST])


def price(listing: Listing, others: Sequence[int]) -> Result:
    """Against the median of others; a price 10x beside it is more often a slip than a decision."""
    own = billed(listing)[-1][1]
    if not others:
        return Result(
            "price",
            "not_checked",
            gettext_noop("Nobody else offers this model, so nothing compares."),
        )
    median = rank(sorted(others), 50)
    sentence = words.AMONG if len(others) > 1 else words.AMONG_ONE
    field = "price_per_token" if listing.is_fine_tuning else "output_price"
    unit = unit_of(field, listing.service_type)
    (mine, middle), named = price_texts((own, median), unit)
    said = sentence.format(own=mine, unit=named, count=len(others), median=middle)
    if own > RATIO * median or own * RATIO < median:
        return Result(
            "price",
            "warn",
            said,
            gettext_noop("Check the unit: the contract holds neuron per token, not per million."),
        )
    return Result("price", "ok", said)


# --- what the host says ---------------------------------------------------------------------------


async def dns(url: str) -> Result:
    """Whether the name resolves, and only to addresses that anybody may be sent to."""
    try:
        target = addresses.parse(url, trust.provider_policy())
    except (BadUrl, Refused) as error:
        return Result("dns", "bad", f"{error}.", gettext_noop("Publish a public https URL."))
    if target.literal is not None:
        if trust.provider_policy().allow_private:
            return Result(
                "dns",
                "warn",
                words.ADDRESS_ITSELF.format(host=target.host),
                gettext_noop("Use a host name elsewhere."),
            )
        return Result(
            "dns",
            "warn",
            words.ADDRESS.format(host=target.host),
            gettext_noop("Use a host name: certificates and moves need one."),
        )
    try:
        async with asyncio.timeout(_DNS_SECONDS):
            found = await names.look_up(target.host, target.port)
        named = sorted({str(entry[4][0]) for entry in found})
        for text in named:
            addresses.check(ip_address(text), trust.provider_policy())
    except (OSError, UnicodeError):  # a timeout is an OSError
        return Result(
            "dns",
            "bad",
            words.UNRESOLVED.format(host=target.host),
            gettext_noop("Create an A or AAAA record for it, and wait until it is known."),
        )
    except (Refused, ValueError) as error:
        return Result(
            "dns",
            "bad",
            words.CLIENTS_REFUSE.format(error=error),
            gettext_noop("Let the name lead to public addresses only."),
        )
    return Result("dns", "ok", f"{', '.join(named[:4])}.")


def unreachable(listing: Listing, why: str) -> tuple[Result, ...]:
    """Nobody was asked because nobody can be."""
    asked = ("tls", "models", "cors", "stream", "usage", "evidence", "signer")
    return tuple(
        Result(
            name,
            "not_checked",
            words.NOT_ASKED.format(why=why),
            gettext_noop("Mend the host name first."),
        )
        for name in asked
    )


def _target(subject: Subject) -> asking.Target:
    """The look of a probe, as of nobody's service: what somebody asks for is never paid for by the
    site's own wallet (`attestation.challenge`)."""
    nobodys = replace(subject.listing, provider=ZERO_ADDRESS)
    return asking.Target(nobodys, thorough=True, key=subject.key)


def tls(found: Found) -> Result:
    listed, url = found.listed, found.target.listing.url
    if listed.failure == "tls":
        return Result(
            "tls",
            "bad",
            gettext_noop("The secure connection could not be made."),
            gettext_noop(
                "Serve a certificate for this host name, with its whole chain, that has not ended."
            ),
        )
    if not url.startswith("https://"):
        if settings.ALLOW_PRIVATE_PROVIDERS:
            return Result(
                "tls",
                "warn",
                gettext_noop("http, as this development network allows."),
                gettext_noop("Use https elsewhere."),
            )
        return Result(
            "tls",
            "bad",
            gettext_noop("It is http."),
            gettext_noop("Serve https: browsers refuse anything else."),
        )
    if listed.tls_days is None:
        return Result(
            "tls",
            "not_checked",
            gettext_noop("No connection stood long enough to see it."),
            gettext_noop("See below."),
        )
    sentence = words.DAY_LEFT if listed.tls_days == 1 else words.DAYS_LEFT
    left = sentence.format(count=listed.tls_days)
    if listed.tls_days < TLS_SOON:
        return Result("tls", "warn", left, gettext_noop("Renew it, and let that happen by itself."))
    return Result("tls", "ok", left)


#: What to do about each failure of a look (`probes.seen.FAILURES`).
_FIXES = {
    "unreachable": gettext_noop("Start the broker, and open its port to the world."),
    "tls": gettext_noop("Mend the certificate first."),
    "timeout": gettext_noop("Look at the broker's load and at what stands in front of it."),
    "broken": gettext_noop("Look at the broker's log and at the proxy in front of it."),
    "error": gettext_noop("Look at the broker's log."),
    "address": gettext_noop("Let the name lead to public addresses only."),
    "odd": gettext_noop(
        "See that the URL is the broker's own, without a path that it does not serve."
    ),
}


def answers(found: Found) -> tuple[Result, ...]:
    """What a probe's look says about model list, browsers and streams."""
    return (_models(found), _cors(found), *_speech(found))


def _models(found: Found) -> Result:
    listed, listing = found.listed, found.target.listing
    if listed.failure:
        status = f" (status {listed.status})" if listed.status else ""
        said = f"{seen.FAILURES[listed.failure]}{status}."
        state: State = "warn" if listed.failure == "odd" else "bad"
        return Result(
            "models", state, said, _FIXES.get(listed.failure, gettext_noop("Look at the broker."))
        )
    took = words.ANSWERED.format(milliseconds=listed.answer_ms)
    if listed.model_listed is False:
        return Result(
            "models",
            "bad",
            f"{took} {words.NOT_NAMED.format(model=repr(listing.model[:80]))}",
            gettext_noop(
                "Publish the name that the list has, or have the broker list the published one."
            ),
        )
    if listed.answer_ms is not None and listed.answer_ms > seen.SLOW_MS:
        return Result(
            "models",
            "warn",
            took,
            gettext_noop("This is the cheapest question there is: find why."),
        )
    return Result("models", "ok", took)


def _cors(found: Found) -> Result:
    if found.target.listing.is_fine_tuning:
        return Result(
            "cors",
            "not_checked",
            gettext_noop("Tasks are sent by servers, so browsers need not be let in."),
        )
    if found.cors is None:
        return Result(
            "cors",
            "not_checked",
            gettext_noop("It gave no answer to read."),
            gettext_noop("Mend the answer first."),
        )
    if found.cors:
        return Result(
            "cors",
            "ok",
            gettext_noop("A preflight from this site is answered as browsers want it."),
        )
    return Result(
        "cors",
        "bad",
        gettext_noop("A preflight for POST with a key is refused: pages cannot ask it."),
        gettext_noop(
            "Answer OPTIONS with Allow-Origin, Allow-Methods POST and Allow-Headers authorization, "
            "content-type; expose ZG-Res-Key."
        ),
    )


def _unanswered(state: State, why: str, fix: str = "") -> tuple[Result, Result]:
    """What keeps a question from being answered says nothing of usage."""
    return Result("stream", state, why, fix), Result("usage", "not_checked", why, fix)


def _speech(found: Found) -> tuple[Result, Result]:
    listing, spoken = found.target.listing, found.spoken
    if listing.service_type != asking.CHAT:
        return _unanswered("not_checked", gettext_noop("Only chat services stream."))
    refused = spoken.refused if spoken else None
    if refused is not None and refused not in _KEY_REFUSED:
        why = words.QUESTION_STATUS.format(status=refused)
        return _unanswered("not_checked" if refused == 429 else "bad", why, _LOOK_AT_LOG)
    if found.speed == Speed.NONE or spoken is None:
        if found.target.key and refused is None:  # nobody was shown the key
            why = gettext_noop("It gave no answer to read.")
            return _unanswered("not_checked", why, gettext_noop("Mend the answer first."))
        if found.target.key:
            why = gettext_noop("It refused the key that you gave.")
            fix = gettext_noop("Has that wallet money here, and does the key hold still?")
            return _unanswered("bad", why, fix)
        why = gettext_noop(
            "Not checked: it needs a key, and this site has none that it may spend here."
        )
        fix = gettext_noop(
            "Give a key of another wallet with the check: your own cannot be its customer."
        )
        return _unanswered("not_checked", why, fix)
    if spoken.failed:
        return (
            Result(
                "stream",
                "bad",
                gettext_noop("No word of an answer came."),
                _LOOK_AT_LOG,
            ),
            Result(
                "usage",
                "not_checked",
                gettext_noop("There was no answer."),
                gettext_noop("Mend the stream first."),
            ),
        )
    said = words.FIRST_WORD.format(milliseconds=spoken.first_token_ms)
    stream = (
        Result("stream", "ok", said)
        if spoken.stream_ms is not None
        else Result(
            "stream",
            "warn",
            f"{said} {words.AT_ONCE}",
            gettext_noop("Switch buffering off in the proxy in front of the broker."),
        )
    )
    usage = (
        Result("usage", "ok", gettext_noop("It does."))
        if spoken.usage_last
        else Result(
            "usage",
            "bad",
            gettext_noop("It does not: clients cannot tell what an answer cost."),
            gettext_noop("Have the model's server send usage (stream_options.include_usage)."),
        )
    )
    return stream, usage
