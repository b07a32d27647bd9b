"""One request for pictures, a transcript or embeddings, from sending it to what came back. Knows
the provider's protocol (provider-protocol.md 1.1, 1.3, 1.5); knows no Django and no browser.

Pictures are made as a job at the provider where it has jobs: the connection may then break, and so
may this process, without anything being lost or asked for twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from inference import failures, relay, wire
from inference.failures import Failure
from inference.media import pictures, transcripts, uploads, vectors
from inference.media.pictures import NoPictures, Remote, Sent
from inference.media.sieve import Sieve
from inference.media.transcripts import Heard, NoTranscript
from inference.media.uploads import NoPicture, Picture
from inference.media.vectors import Embedded, NoVectors
from net import strictjson
from net.client import Answer, Client
from net.errors import (
    BadStatus,
    NetError,
    TimedOut,
    Unreachable,
)
from net.limits import Limits

log = logging.getLogger(__name__)

Told = Callable[[Remote], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """What to send where: exact bytes to `path` below `/v1/proxy`. With `remote` it was sent
    before, and that job of the provider's is asked for instead.
    """

    url: str
    authorization: str
    path: str
    content_type: str
    body: bytes
    remote: str = ""
    length_ms: int = 0
    #: Texts in it.
    count: int = 0


@dataclass(frozen=True)
class Patience:
    """Seconds: for the answer to one request, between two questions about a job, and for all."""

    answer: float = 180.0
    first_look: float = 0.5
    look: float = 5.0
    whole: float = 900.0


@dataclass
class Outcome:
    """What came of a call; `failure` None means that everything did. Hashes as in `Turn`. `taken`:
    the provider has begun on it, so that whatever fails from then on may be charged.
    """

    taken: bool = False
    request_sha256: str = ""
    response_sha256: str = ""
    response_bytes: int = 0
    answer_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pictures: tuple[tuple[Picture, str], ...] = ()
    heard: Heard | None = None
    embedded: Embedded | None = None
    failure: Failure | None = None
    seconds: float = 0.0


class _NoJobs(Exception):
    """The provider makes no pictures in the background."""


class _JobFailed(Exception):
    """The provider says that it could not do its job."""


async def draw(client: Client, call: Call, told: Told, patience: Patience | None = None) -> Outcome:
    """Have pictures made; `told` hears of the provider's job as soon as there is one and whenever
    its state changes. Always ends with an Outcome unless cancelled.
    """
    patience = patience or Patience()
    outcome = Outcome(request_sha256=hashlib.sha256(call.body).hexdigest())
    started = time.monotonic()
    try:
        async with asyncio.timeout(patience.whole):
            try:
                sent = await _job(client, call, told, outcome, patience)
            except _NoJobs:
                sent = await _at_once(client, call, outcome, patience)
            made = [(await _picture(client, call, one), one.seed) for one in sent]
        outcome.pictures = tuple(made)
        outcome.response_sha256 = ",".join(picture.sha256 for picture, _ in made)
        outcome.response_bytes = sum(len(picture.data) for picture, _ in made)
    except TimeoutError:
        outcome.failure = Failure("slow_start", f"no pictures within {patience.whole:.0f} s")
    except _JobFailed as error:
        outcome.failure = Failure("provider_error", str(error), 200)  # its answer was a good one
    except (NetError, NoPictures, NoPicture) as error:
        outcome.failure = _failure(error, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


async def transcribe(client: Client, call: Call, patience: Patience | None = None) -> Outcome:
    """Have a piece of a recording written down. Always ends with an Outcome unless cancelled."""

    def read(outcome: Outcome) -> None:
        outcome.heard = transcripts.read_answer(outcome.body, call.length_ms)

    return await _whole(client, call, transcripts.MAX_ANSWER_BYTES, read, patience)


async def embed(client: Client, call: Call, patience: Patience | None = None) -> Outcome:
    """Have texts embedded. Always ends with an Outcome unless cancelled."""

    def read(outcome: Outcome) -> None:
        outcome.embedded = vectors.read_answer(outcome.body, call.count)

    return await _whole(client, call, vectors.MAX_ANSWER_BYTES, read, patience)


async def _whole(
    client: Client,
    call: Call,
    most: int,
    read: Callable[[Outcome], None],
    patience: Patience | None,
) -> Outcome:
    """One request whose answer, of `most` bytes, is kept whole and `read` in a thread."""
    patience = patience or Patience()
    outcome = Outcome(request_sha256=hashlib.sha256(call.body).hexdigest())
    started = time.monotonic()
    try:
        outcome.body = await _post(client, call, f"/v1/proxy{call.path}", outcome, patience, most)
        outcome.response_sha256 = hashlib.sha256(outcome.body).hexdigest()
        outcome.response_bytes = len(outcome.body)
        await asyncio.to_thread(read, outcome)
    except (NetError, NoTranscript, NoVectors) as error:
        outcome.failure = _failure(error, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


async def _at_once(
    client: Client, call: Call, outcome: Outcome, patience: Patience
) -> tuple[Sent, ...]:
    path = f"/v1/proxy{call.path}"
    most = pictures.MAX_ANSWER_BYTES
    async with _posted(client, call, path, outcome, patience, most) as answer:
        sifted = await _sifted(answer)
    return pictures.sent(sifted.document(), sifted)


async def _sifted(answer: Answer) -> Sieve:
    """An answer that may hold pictures; at no time is it whole in memory."""
    sieve = Sieve(pictures.MAX_PICTURE_BYTES)
    async for piece in answer.chunks():
        sieve.feed(piece)
    return sieve


async def _job(
    client: Client, call: Call, told: Told, outcome: Outcome, patience: Patience
) -> tuple[Sent, ...]:
    """Begin a job, or go on with one, and wait for its end. Raises _NoJobs before anything was
    begun, _JobFailed, NoPictures, NetError.
    """
    job = Remote(call.remote, "") if call.remote else await _submit(client, call, patience)
    outcome.taken = True
    await told(job)
    pause = patience.first_look
    while True:
        looked = await _look(client, call, job.id, outcome)
        if looked is not None:
            seen, sifted = looked
            if seen.state == "completed":
                return pictures.sent(seen.data, sifted)
            if seen.state == "failed":
                raise _JobFailed(seen.error or "the provider gave no reason")
            if seen.state != job.state:
                job = seen
                await told(job)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, patience.look)


async def _submit(client: Client, call: Call, patience: Patience) -> Remote:
    outcome = Outcome()
    try:
        body = await _post(client, call, f"/v1/async{call.path}", outcome, patience, 1 << 20)
    except BadStatus as error:
        words = wire.read_error(error.body).lower()
        if error.status in (404, 405, 501) or "async processing is not enabled" in words:
            raise _NoJobs from None
        raise
    return pictures.remote(strictjson.loads(body))


async def _look(
    client: Client, call: Call, job: str, outcome: Outcome
) -> tuple[Remote, Sieve] | None:
    """The job as it stands, and what its pictures come out of; None where the provider could not
    say just now."""
    limits = Limits(first_byte=30, between=30, total=120, max_bytes=pictures.MAX_ANSWER_BYTES)
    url = f"{call.url.rstrip('/')}/v1/async/jobs/{job}"
    try:
        async with client.open(
            "GET", url, headers={"Authorization": call.authorization}, limits=limits
        ) as answer:
            _note(outcome, answer)
            sifted = await _sifted(answer)
            return pictures.remote(sifted.document()), sifted
    except BadStatus as error:
        if error.status not in (408, 425, 429) and error.status < 500:
            raise
        log.info("job %s: the provider answers %s, asked again", job, error.status)
    except (TimedOut, Unreachable) as error:
        log.info("job %s: %s, asked again", job, error)
    return None


async def _post(
    client: Client, call: Call, path: str, outcome: Outcome, patience: Patience, most: int
) -> bytes:
    """The body of the answer. Raises NetError."""
    async with _posted(client, call, path, outcome, patience, most) as answer:
        return await answer.read()


@asynccontextmanager
async def _posted(
    client: Client, call: Call, path: str, outcome: Outcome, patience: Patience, most: int
) -> AsyncIterator[Answer]:
    """The answer, of `most` bytes. Raises NetError."""
    async with client.open(
        "POST",
        call.url.rstrip("/") + path,
        headers={
            "Authorization": call.authorization,
            "Content-Type": call.content_type,
            "Accept": "application/json",
        },
        body=call.body,
        limits=Limits(
            first_byte=patience.answer,
            between=30,
            total=patience.answer + 60,
            max_bytes=most,
            max_redirects=0,
        ),
        accept=(200, 202),
    ) as answer:
        _note(outcome, answer)
        yield answer


async def _picture(client: Client, call: Call, sent: Sent) -> Picture:
    """A picture's bytes: those in the answer, or those at the provider's own place for pictures.

    Raises NoPictures, NoPicture, NetError.
    """
    data = sent.data
    if sent.url:
        if not pictures.own_address(call.url, sent.url):
            raise NoPictures("a picture at an address that is not the provider's own")
        limits = Limits(total=60, max_bytes=pictures.MAX_PICTURE_BYTES, max_redirects=0)
        async with client.open("GET", sent.url, limits=limits) as answer:
            data = await answer.read()
    return await asyncio.to_thread(uploads.measured, data)


def _note(outcome: Outcome, answer: Answer) -> None:
    outcome.taken = True
    outcome.answer_id = relay.answer_id(answer) or outcome.answer_id
    outcome.headers = relay.headers(answer)


def _failure(error: Exception, outcome: Outcome) -> Failure:
    if not isinstance(error, NetError):
        return Failure("bad_answer", str(error))
    waited = isinstance(error, TimedOut) and error.stage == "first_byte"
    found = relay.failure_of(error, began=not waited, sent=outcome.taken)
    if outcome.taken and found.kind in failures.NOT_CHARGED:
        # Refusing to hand over what it took on is no refusal of the request.
        return replace(found, kind="provider_error")
    return found
