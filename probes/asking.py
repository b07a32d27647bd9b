"""One look at one service: which requests are sent, and how their failures are read.

Every request goes through the guarded client, says who asks, and is bounded in time and size.
Nothing a provider does makes these functions raise.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings

from attestation import challenge
from attestation.challenge import NotChallenged
from ledger.records import Listing
from net import strictjson
from net.client import Client
from net.errors import (
    BadAnswer,
    BadStatus,
    BadUrl,
    BrokenOff,
    InsecureConnection,
    NetError,
    Refused,
    TimedOut,
    TooLarge,
)
from net.limits import JsonLimits, Limits
from probes import rules, seen
from probes.models import Speed
from probes.seen import Listed, Spoken
from probes.stream import MAX_TOKENS, Meter
from protocol import keys

LIMITS = Limits(connect=5, first_byte=10, between=5, total=15, max_bytes=1 << 20)
_SMALL = Limits(connect=5, first_byte=5, between=5, total=8, max_bytes=rules.MAX_BYTES)
_SPEECH = Limits(connect=5, first_byte=30, between=15, total=60, max_bytes=512 << 10)
_SHAPE = JsonLimits(max_depth=12, max_bytes=1 << 20)
_QUESTION = "Count from one to twenty in words."
CHAT, CHAT_PATH = "chatbot", "/v1/proxy/chat/completions"
_UNASKED = Listed()


@dataclass(frozen=True)
class Target:
    """A service to look at; `thorough`: with CORS and speed, `ask_rules`: with its robots.txt;
    `key`: somebody's own, that pays the question about speed."""

    listing: Listing
    thorough: bool = False
    ask_rules: bool = False
    key: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        return (self.listing.serving, self.listing.provider)

    @property
    def host(self) -> str:
        """Whom we are polite to: the URL's host and port, or all of an unreadable URL."""
        try:
            return urlsplit(self.listing.url).netloc.rpartition("@")[2].lower()[:300]
        except ValueError:
            return self.listing.url[:300]


@dataclass(frozen=True)
class Found:
    """What one look brought. `forbidden`: the answer to `ask_rules`, None where it was not asked
    or could not be had; where it is True nothing else was sent."""

    target: Target
    at: dt.datetime
    listed: Listed = _UNASKED
    cors: bool | None = None
    speed: Speed = Speed.NONE
    spoken: Spoken | None = None
    forbidden: bool | None = None

    @property
    def judged(self) -> tuple[str, str]:
        return seen.judged(self.listed, self.spoken)

    @property
    def mute(self) -> bool:
        return self.forbidden is None and self.listed.failure in seen.MUTE


def user_agent() -> str:
    """Names the site, and where it explains what it does."""
    return f"{rules.AGENT}/1.0 (+{settings.SITE_URL}/docs/how-we-measure)"


async def look(client: Client, target: Target) -> Found:
    """Ask a service what this look is for; never raises for what a provider does."""
    at = dt.datetime.now(dt.UTC)
    forbidden = await _forbidden(client, target) if target.ask_rules else None
    if forbidden:
        return Found(target, at, forbidden=True)
    listed = await _listed(client, target.listing)
    cors, speed, spoken = None, Speed.NONE, None
    if target.thorough and seen.judged(listed, None)[0] != "down":
        cors = await _cors(client, target.listing)
        speed, spoken = await _spoken(client, target)
    return Found(target, at, listed, cors, speed, spoken, forbidden)


def _headers(**more: str) -> dict[str, str]:
    return {"User-Agent": user_agent(), **{k.replace("_", "-"): v for k, v in more.items()}}


def _root(listing: Listing) -> str:
    return listing.url.rstrip("/")


def _path(listing: Listing) -> str:
    """The cheapest question that a service of this kind answers (provider-protocol.md 1.1, 6.1)."""
    return "/v1/task/pending" if listing.is_fine_tuning else "/v1/models"


async def _forbidden(client: Client, target: Target) -> bool | None:
    """Whether its robots.txt asks us by name to stay away from something that a look asks for; None
    where we cannot know.
    """
    try:
        parts = urlsplit(target.listing.url)
        root = parts.path.rstrip("/")
        paths = [root + _path(target.listing)]
        if not target.listing.is_fine_tuning:
            paths.append(root + CHAT_PATH)
        url = f"{parts.scheme}://{parts.netloc}/robots.txt"
        async with client.open("GET", url, headers=_headers(), limits=_SMALL) as answer:
            text = await answer.read()
        return any(rules.forbids(text, path) for path in paths)
    except BadStatus as error:
        return False if 400 <= error.status < 500 else None  # no such file: no rules
    except (NetError, ValueError):
        return None


async def _listed(client: Client, listing: Listing) -> Listed:
    began = time.perf_counter()
    tls: int | None = None
    try:
        url = _root(listing) + _path(listing)
        # Who refuses shows a certificate, too.
        every = range(200, 600)
        async with client.open(
            "GET", url, headers=_headers(), limits=LIMITS, accept=every
        ) as answer:
            tls, status = days_left(answer.certificate), answer.status
            if status != 200:
                return Listed("error" if status >= 500 else "odd", status, tls_days=tls)
            body = await answer.read()
    except NetError as error:
        status = error.status if isinstance(error, BadStatus) else 0
        return Listed(_failure(error), status, tls_days=tls)
    took = _ms(began)
    if listing.is_fine_tuning:
        count = body.strip()
        fine = count.isdigit() and len(count) < 12
        return Listed("" if fine else "odd", status, took, None, tls)
    try:
        named = seen.names_model(strictjson.loads(body, _SHAPE), listing.model)
    except BadAnswer:
        named = None
    return Listed("odd" if named is None else "", status, took, named, tls)


def _failure(error: NetError) -> str:
    """A word of `seen.FAILURES`."""
    match error:
        case BadStatus():
            return "error" if error.status >= 500 else "odd"
        case Refused() | BadUrl():
            return "address"
        case InsecureConnection():
            return "tls"
        case TimedOut():
            return "timeout"
        case BrokenOff():
            return "broken"
        case BadAnswer() | TooLarge():
            return "odd"
    return "unreachable"


def days_left(certificate: bytes) -> int | None:
    """Whole days until a certificate (DER) ends; None without one."""
    if not certificate:
        return None
    try:
        ends = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None
    return (ends - dt.datetime.now(dt.UTC)).days


async def _cors(client: Client, listing: Listing) -> bool | None:
    """Whether a browser on our pages may POST to it with a key: a real preflight."""
    if listing.is_fine_tuning:
        return None
    asked = _headers(
        Origin=settings.SITE_URL,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization,content-type",
    )
    url = _root(listing) + CHAT_PATH
    try:
        async with client.open(
            "OPTIONS", url, headers=asked, limits=_SMALL, accept=range(200, 300)
        ) as answer:
            names = ("Allow-Origin", "Allow-Methods", "Allow-Headers")
            said = [answer.header(f"Access-Control-{name}") for name in names]
            return seen.allows_browser(settings.SITE_URL, *said)
    except BadStatus:
        return False
    except NetError:
        return None


async def _spoken(client: Client, target: Target) -> tuple[Speed, Spoken | None]:
    """A small question, streamed: paid by the key at hand, by the site's wallet where that may, or
    unpaid where the service costs nothing; not asked anywhere else."""
    listing = target.listing
    if listing.service_type != CHAT:
        return Speed.NONE, None
    body = _request(listing.model)
    headers, speed = _headers(Content_Type="application/json"), Speed.PAID
    try:
        key = target.key or await challenge.paying_key(vars(listing), body)
        headers["Authorization"] = keys.authorization(key)
    except NotChallenged:
        if listing.input_price or listing.output_price:
            return Speed.NONE, None
        speed = Speed.UNPAID
    meter, began = Meter(), time.perf_counter()
    url = _root(listing) + CHAT_PATH
    try:
        async with client.open("POST", url, headers=headers, body=body, limits=_SPEECH) as answer:
            async for piece in answer.chunks():
                meter.feed(piece, _ms(began))
    except BadStatus as error:
        if error.status < 500:
            return Speed.NONE, Spoken(refused=error.status)
        return speed, Spoken(failed=True)
    except NetError:
        return speed, Spoken(failed=True)
    return speed, meter.result()


def _request(model: str) -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _ms(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)
