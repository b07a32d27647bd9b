"""Carries one request to its provider and the answer back, byte for byte.

What one read of the provider's connection delivers goes out as one piece, no timer between; a
reader that stops reading stops us from reading too, so that nothing piles up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.db import DatabaseError, DataError, IntegrityError

from attestation import verify
from inference import costs, relay, services, signatures
from inference.failures import Failure
from inference.hub import Hub, spawn
from inference.models import State, Turn, Verdict
from inference.openai import errors, outcome, turn_rows
from inference.openai.asks import CHAT, EMBEDDINGS, Ask
from inference.openai.choose import Grant
from inference.openai.errors import ApiError
from inference.openai.outcome import Outcome, Tail
from inference.openai.reply import Reply
from inference.openai.room import SMALL_BYTES, Room
from inference.openai.turn_rows import Answered, Opened
from inference.signatures import Asked
from net.client import Answer
from net.errors import NetError
from net.limits import Limits

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
#: Until a stream begins, and between its pieces.
FIRST_SECONDS, BETWEEN_SECONDS = 30.0, 60.0
WHOLE_SECONDS = 900.0
AFTER_DONE_SECONDS = 3.0
#: Of texts, and of pictures or embeddings.
CHAT_BYTES, LARGE_BYTES = 16 << 20, 64 << 20
#: Seconds before each question for the signature while the program waits for it.
WAITS = (0.0, 0.25)
_TYPES = (
    "application/json",
    "text/event-stream",
    "text/plain",
    "text/vtt",
    "application/x-subrip",
)


_READERS = {CHAT: outcome.of_chat, EMBEDDINGS: outcome.of_embeddings}


class Forwarder:
    """One request under way. Work of the hub: it ends its row itself, also when cancelled."""

    def __init__(
        self,
        hub: Hub,
        grant: Grant,
        ask: Ask,
        opened: Opened,
        reply: Reply,
        sha256: str,
        room: Room,
    ) -> None:
        self._hub = hub
        self._grant = grant
        self._ask = ask
        self._opened = opened
        self._reply = reply
        self._room = room
        self._tail = Tail()
        self._answered = Answered(sha256)
        self._sent = False
        self._stored = False
        self._used: bool | None = None
        self._began = time.monotonic()
        #: The answer has come; what is left is its proof. Clients leave at the closing mark.
        self.over = False

    async def run(self) -> None:
        """1. send the request  2. pass the answer on  3. store how it ended, and its signature."""
        failure: Failure | None = None
        try:
            async with self._asked() as answer:
                if "event-stream" in answer.header("Content-Type"):
                    failure = await self._stream(answer)
                else:
                    async with AsyncExitStack() as places:
                        await self._whole(answer, places)
        except asyncio.CancelledError:
            if not self._hub.stopped(self._opened.turn):
                failure = Failure("interrupted", "the server was restarted")
        except NetError as error:
            began = self._answered.first_seconds is not None
            failure = relay.failure_of(error, began=began, sent=self._sent)
        except Exception:
            # The outermost frame of a request: whatever it was, the row must not stay open.
            log.exception("request %s failed", self._opened.turn)
            failure = Failure("interrupted", "an error of this site")
        finally:
            await asyncio.shield(spawn(self._end(failure)))

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Answer]:
        ask, listing = self._ask, self._grant.listing
        async with self._hub.client.open(
            "POST",
            f"{listing.url.rstrip('/')}/v1/proxy/{ask.endpoint}",
            headers={
                "Authorization": self._grant.authorization,
                "Content-Type": ask.content_type,
                "Accept": "text/event-stream" if ask.stream else "*/*",
            },
            body=ask.body,
            limits=Limits(
                connect=CONNECT_SECONDS,
                first_byte=FIRST_SECONDS if ask.stream else WHOLE_SECONDS,
                between=BETWEEN_SECONDS,
                total=WHOLE_SECONDS,
                max_bytes=CHAT_BYTES if ask.writes else LARGE_BYTES,
                max_redirects=0,
            ),
        ) as answer:
            self._sent = True
            self._answered.answer_id = relay.answer_id(answer)
            self._answered.headers = relay.headers(answer)
            yield answer

    async def _stream(self, answer: Answer) -> Failure | None:
        """Pass a stream on; then its row, its signature, and a comment that says both."""
        tail, send, ended = self._tail, self._reply.data, True
        beginning = outcome.Beginning()
        await self._reply.start(200, {**self._headers(answer), "x-accel-buffering": "no"})
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if self._answered.first_seconds is None and beginning.speaks(chunk):
                    self._answered.first_seconds = time.monotonic() - self._began
                tail.took(chunk)
                await send(chunk)
                if tail.done:
                    self.over = True
                    ended = await self._rest(chunks)
                    break
        self.over = True
        self._answered.complete = ended and (answer.delimited or tail.done)
        found = outcome.of_stream(tail)
        failure = _said(found)
        if failure is None and not tail.done and not found.finish_reason:
            failure = Failure("cut_off", "the answer ended without its closing mark")
        cost = await self._store(self._state(failure), found, tail.bytes(), failure)
        verdict = await self._verdict()
        await self._reply.end(_error_event(failure) + self._comment(verdict, cost))
        return failure

    async def _rest(self, chunks: AsyncIterator[bytes]) -> bool:
        """What a provider sends behind the closing mark: the signature may cover it, nobody waits
        long for it, and no failure matters any more. Returns whether all of it came.
        """
        try:
            async with asyncio.timeout(AFTER_DONE_SECONDS):
                async for chunk in chunks:
                    self._tail.took(chunk)
                    await self._reply.data(chunk)
        except (TimeoutError, NetError):
            return False
        return True

    async def _whole(self, answer: Answer, places: AsyncExitStack) -> None:
        """Read a whole answer, so that its headers can say what was proven and what it cost. A
        large one has its place until it has gone out."""
        gathered = bytearray()
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if len(gathered) <= SMALL_BYTES < len(gathered) + len(chunk):
                    await places.enter_async_context(self._room.large(self._grant.owner))
                gathered += chunk
        body = bytes(gathered)
        del gathered
        self.over = True
        self._tail.took(body)
        self._answered.complete = answer.delimited
        read = _READERS.get(self._ask.endpoint)
        found = read(body) if read else Outcome()
        failure = _said(found)
        cost = await self._store(self._state(failure), found, body, failure)
        verdict = await self._verdict()
        headers = {
            **self._headers(answer),
            "x-verification": str(verdict),
            "x-response-sha256": self._answered.response_sha256,
            "x-cost-neuron": str(cost.fee),
            "x-cost-kind": cost.kind,
        }
        await self._reply.whole(200, headers, body)

    def _headers(self, answer: Answer) -> dict[str, str]:
        given = answer.header("Content-Type")
        known = given.partition(";")[0].strip().lower() in _TYPES
        headers = {
            "content-type": given[:100] if known else "application/octet-stream",
            "x-provider": self._grant.listing.provider,
            "x-verification-id": str(self._opened.turn),
            "x-request-sha256": self._answered.request_sha256,
        }
        if self._answered.answer_id:
            headers["zg-res-key"] = self._answered.answer_id
        return headers

    def _state(self, failure: Failure | None) -> State:
        if failure is None:
            return State.ANSWERED
        return State.CUT_OFF if self._tail.size else State.FAILED

    async def _store(
        self, state: State, found: Outcome, body: bytes, failure: Failure | None = None
    ) -> costs.Cost:
        """Write the end of the row; once."""
        answered, grant = self._answered, self._grant
        answered.seconds = time.monotonic() - self._began
        answered.size = self._tail.size
        answered.response_sha256 = self._tail.sha256 if self._tail.size else ""
        answered.usage, answered.finish_reason = found.usage, found.finish_reason
        if state == State.ANSWERED:
            cost = outcome.cost(self._ask, grant.tariff, body, found, self._opened.reserved)
            if self._ask.pictures:
                made = outcome.of_pictures(body)
                answered.response_sha256 = ",".join(made or ())
                count = len(made) if made else outcome.addresses(body)
                answered.quantity = f"{count} picture{'' if count == 1 else 's'}"
                answered.complete = answered.complete and made is not None
        else:
            cost = costs.of_answer(
                grant.tariff,
                usage=found.usage,
                text="",
                finished=False,
                failure=failure,
                maximum=self._opened.reserved,
                reason=found.finish_reason,
            )
        self._stored = True
        end = partial(_end_row, self._opened, grant, state, answered, cost, failure)
        # Whoever has this stopped meanwhile must not leave the row open.
        storing = spawn(self._hub.stored(self._opened.turn, end))
        self._used = await asyncio.shield(storing)
        return cost

    async def _verdict(self) -> Verdict:
        """Ask for the signature; what is not there soon is asked for again by the worker."""
        answered, grant = self._answered, self._grant
        exchange = verify.Exchange(
            answered.request_sha256,
            answered.response_sha256,
            complete=answered.complete,
            reused=bool(self._used),
            model=self._ask.model,
            pictures=self._ask.pictures,
        )
        try:
            if self._used is None:
                # Somebody else ended it, or our own try whose success the database could not tell.
                return Verdict((await verification(self._opened.turn, self._hub)).verdict)
            return await signatures.judge(
                self._hub.client,
                Asked(self._opened.turn, grant.listing.url, answered.answer_id, self._ask.model),
                exchange,
                grant.signer or verify.Signer("", acknowledged=False),
                waits=WAITS if answered.complete else WAITS[:1],
            )
        except Turn.DoesNotExist:  # its person was forgotten meanwhile
            return Verdict.NOT_COMPARABLE
        except DatabaseError as error:  # the worker asks again; the answer is whole all the same
            log.warning("the verdict on %s is not stored: %s", self._opened.turn, error)
            return Verdict.PENDING

    async def _end(self, failure: Failure | None) -> None:
        """Whatever happened: the row is ended and the program has an answer."""
        if not self._stored:
            found = outcome.of_stream(self._tail)
            # A program that left because of what the provider said has not stopped anything.
            failure = failure or _said(found)
            state = State.STOPPED if failure is None else self._state(failure)
            self._answered.complete = False
            await self._store(state, found, b"", failure)
            if not (failure and failure.kind == "interrupted"):
                await self._verdict()
        if self._reply.ended:
            return
        if self._reply.started:
            await self._reply.end(_error_event(failure))
        elif failure is not None:
            await self._reply.error(errors.of_failure(failure))
        else:
            await self._reply.error(ApiError(400, "stopped", "The request was stopped."))

    def _comment(self, verdict: Verdict, cost: costs.Cost) -> bytes:
        said = {
            "verification": {"id": str(self._opened.turn), "verdict": str(verdict)},
            "provider": self._grant.listing.provider,
            "request_sha256": self._answered.request_sha256,
            "response_sha256": self._answered.response_sha256,
            "cost": {"neuron": str(cost.fee), "kind": cost.kind},
        }
        return b": " + orjson.dumps(said) + b"\n\n"


def _end_row(opened: Opened, *given: Any) -> bool | None:
    try:
        return turn_rows.end_row(opened, *given)
    except (DataError, IntegrityError):
        log.exception("the end of request %s cannot be stored", opened.turn)
        services.cut_off(opened.turn, "")
        return None


def _said(found: Outcome) -> Failure | None:
    """The error that a provider put into its answer."""
    return Failure("provider_error", found.error) if found.error else None


def _error_event(failure: Failure | None) -> bytes:
    """A failure in the middle of a stream, in the form that the OpenAI clients raise. The blank
    lines end whatever the provider left half said.
    """
    if failure is None:
        return b""
    return b"\n\ndata: " + orjson.dumps(errors.of_failure(failure).document) + b"\n\n"


async def verification(turn_id: int, hub: Hub) -> Turn:
    """A request's row; its signature is asked for once more where it is still missing."""
    turn: Turn = await database_sync_to_async(Turn.objects.get)(pk=turn_id)
    if turn.verdict == Verdict.PENDING and turn.state != State.OPEN:
        await signatures.settle(hub.client, turn_id)
        turn = await database_sync_to_async(Turn.objects.get)(pk=turn_id)
    return turn
