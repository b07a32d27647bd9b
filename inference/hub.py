"""The answers that this process is writing: one task each, owned by the process, not by a socket.

A hub starts with the first chat of a process and then keeps three things going: a heartbeat, a
subscription to stop requests, and every few seconds a look for turns of other processes that
died. When the process is told to end, it takes no new turns; those still running after a grace
end as cut off, with their text.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.db import DatabaseError, DataError, IntegrityError
from django.utils import translation
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from attestation import trust
from inference import (
    abilities,
    blocks,
    opening,
    relay,
    services,
    signatures,
    turnlog,
)
from inference.abilities import Abilities
from inference.errors import ChatError, Closing, Unavailable
from inference.failures import Failure
from inference.models import Chat, Medium, State, Turn, Verdict
from inference.prompts import Prompt
from inference.queues import Queues
from inference.relay import Call, Calling, Delta, Failed, Finished, Record
from ledger.records import Listing
from net.client import Client

log = logging.getLogger(__name__)

Why = Literal["stop", "closing"]
Result = TypeVar("Result")

BEAT_SECONDS = 4.0
#: What else is done every BEAT_SECONDS by each process; modules above this one add theirs.
CHORES: list[Callable[[Hub], Awaitable[None]]] = []
#: Media whose open turns have no memory but their process; the others can be taken over.
_OURS = (Medium.CHAT, Medium.RELAY)
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """This event loop's hub; there is one loop per process outside of tests."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


class Hub:
    """See the module. `process` names it in the database and in Redis."""

    def __init__(self, timeouts: relay.Timeouts | None = None) -> None:
        self.process = uuid.uuid4().hex
        self.closing = False
        self._timeouts = timeouts
        self._client: Client | None = None
        self._turns: dict[int, asyncio.Task[None]] = {}
        self._why: dict[int, Why] = {}
        self._asking: set[asyncio.Task[Any]] = set()
        self._pace = blocks.Pace()
        self._looking: set[asyncio.Task[Verdict]] = set()
        self._service: list[asyncio.Task[None]] = []
        self._storing: set[int] = set()
        #: Open turns that nobody was writing at the last look, and what was being asked then.
        self._unwritten: tuple[set[int], set[asyncio.Task[Any]]] = (set(), set())
        self._queues = Queues()
        self._starting = asyncio.Lock()
        self._ending = asyncio.Lock()

    async def start(self) -> None:
        """Begin the housekeeping; does nothing the second time. Raises Unavailable."""
        async with self._starting:
            if self._service or self.closing:
                return
            try:
                await turnlog.beat(self.process)
            except RedisError as error:
                log.warning("chat cannot start: %s", error)
                raise Unavailable(_("Chat is not available right now. Nothing was sent.")) from None
            doing = (self._live(), self._keep_house(), self._listen())
            self._service = [spawn(each) for each in doing]

    async def ask(self, chat: Chat, text: str, **given: Any) -> opening.Opened:
        """Open a turn (`opening.open_turn`) and begin its answer, as one step: a page that leaves
        in between must not leave an open turn that nobody writes. Raises ChatError.
        """
        return await self.whole(self._ask(chat, text, given))

    async def whole(self, opening: Coroutine[Any, Any, Result]) -> Result:
        """Do all of `opening`, even when whoever asked for it leaves. Raises Closing."""
        if self.closing:
            opening.close()
            raise Closing(_("This server is restarting. Send it again in a few seconds."))
        asking = spawn(opening, translation.get_language())
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return await asyncio.shield(asking)

    async def _ask(self, chat: Chat, text: str, given: dict[str, Any]) -> opening.Opened:
        open_turn = database_sync_to_async(opening.open_turn)
        opened: opening.Opened
        try:
            opened = await open_turn(chat, text, process=self.process, look=True, **given)
        except abilities.Unknown as unknown:
            # Where pictures may be sent, know what the provider's model takes.
            await self.look(unknown.listing)
            opened = await open_turn(chat, text, process=self.process, **given)
        if opened.call is not None:
            # Also when the process was told to end meanwhile: the turn is open, and this is the
            # only process that has what it takes to answer it.
            self.launch(opened.turn, opened.call)
        return opened

    async def look(self, listing: Listing) -> Abilities:
        """What a service says of its model (`abilities.look`). Of many who want to know, one asks:
        a provider that is silent holds no more connections of this process.
        """
        async with self._queues.turn(listing.provider):
            return await abilities.look(self.client, listing)

    async def ask_all(
        self, chat: Chat, prompt: Prompt, session: str | None = None
    ) -> list[opening.Opened]:
        """Ask every provider that a prompt names, as long as the `session` lives. Raises ChatError
        where the first cannot be asked; where only the second cannot, the first answers alone and
        the error is its `refused`.
        """
        opened: list[opening.Opened] = []
        for given in prompt.questions():
            given["session"] = session
            if opened:
                given["again"] = opened[0].turn  # beside the first, not after it
            try:
                opened.append(await self.ask(chat, prompt.text, **given))
            except ChatError as error:
                if not opened:
                    raise
                opened[0] = replace(opened[0], refused=error.sentence)
        return opened

    def launch(self, turn_id: int, call: Call) -> None:
        """Write the answer of an open turn."""
        self.work(turn_id, self._answer(turn_id, call))

    def work(self, turn_id: int, doing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do what answers an open turn; it ends the turn's row itself, also when cancelled."""
        task = spawn(doing)
        self._turns[turn_id] = task
        task.add_done_callback(lambda _: self._done(turn_id))
        return task

    def _done(self, turn_id: int) -> None:
        self._turns.pop(turn_id, None)
        self._why.pop(turn_id, None)

    async def stop(self, turn_id: int, process: str) -> None:
        """Stop a turn at its next token, whichever process writes it."""
        if turn_id in self._turns:
            self._cancel(turn_id, "stop")
        elif process != self.process:
            await turnlog.ask_to_stop(process, turn_id)

    def stopped(self, turn_id: int) -> bool:
        """Whether a cancelled turn was stopped by its person (else this process ends)."""
        return self._why.get(turn_id) == "stop"

    def look_again(self, turn_id: int) -> None:
        """Ask for an ended turn's signature once more, in the background."""
        if not self.closing:
            task = spawn(signatures.settle(self.client, turn_id))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def drain(self, grace: float) -> None:
        """Take no new turns and let the running ones end for `grace` seconds, then close."""
        self.closing = True
        await asyncio.gather(*self._asking, return_exceptions=True)
        if running := list(self._turns.values()):
            await asyncio.wait(running, timeout=grace)
        await self.close()

    async def close(self) -> None:
        """End every open turn as cut off and stop the housekeeping. Safe to call again."""
        self.closing = True
        async with self._ending:
            await asyncio.gather(*self._asking, return_exceptions=True)
            tasks = list(self._turns.values())
            for turn_id in list(self._turns):
                self._cancel(turn_id, "closing")
            await asyncio.gather(*tasks, return_exceptions=True)
            service, self._service = self._service, []
            background: list[asyncio.Task[Any]] = [*service, *self._looking]
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            client, self._client = self._client, None
            if client is not None:
                await client.close()
            if service:
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        try:
            await turnlog.gone(self.process)
        except RedisError as error:
            log.warning("heartbeat not withdrawn: %s", error)
        await turnlog.close()

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(trust.provider_policy())
        return self._client

    def _cancel(self, turn_id: int, why: Why) -> None:
        if turn_id not in self._why:
            self._why[turn_id] = why
            self._turns[turn_id].cancel()

    async def _answer(self, turn_id: int, call: Call) -> None:
        """1. relay the answer into the turn's stream  2. store the turn  3. judge its signature."""
        record = Record()
        writer = turnlog.Writer(turn_id)
        closer = blocks.Closer(self._pace)
        state, failure, newest = State.CUT_OFF, None, 0
        try:
            events = relay.stream(self.client, call, record, self._timeouts)
            async with aclosing(events):
                async for event in events:
                    match event:
                        case Delta():
                            if event.reasoning:
                                writer.reasoning(event.reasoning)
                            if event.text:
                                writer.text(event.text)
                                closer.add(event.text)
                                if block := closer.take():
                                    writer.event({"type": "block", **vars(block)})
                        case Calling():
                            if event.name:
                                newest = event.number
                                called = {"id": event.id, "name": event.name}
                                writer.event({"type": "call", **called})
                            # More of an older one than the newest is told with the end.
                            if event.arguments and event.number == newest:
                                writer.arguments(event.arguments)
                        case Finished():
                            state = State.ANSWERED
                        case Failed():
                            failure = event.failure
                            said = any(record.text) or len(record.calls)
                            state = State.CUT_OFF if said else State.FAILED
                    if writer.full:
                        await writer.room()
        except asyncio.CancelledError:
            if self._why.get(turn_id) == "stop":
                state = State.STOPPED
            else:
                failure = Failure("interrupted", "the server was restarted")
        except Exception:
            # The outermost frame of a turn: whatever it was, the row must not stay open.
            log.exception("turn %s failed", turn_id)
            failure = Failure("interrupted", "an error of this site")
        finally:
            # A second cancellation (loop shutdown) must not leave the row open either.
            await asyncio.shield(spawn(self._end(turn_id, state, record, failure, writer)))

    async def _end(
        self,
        turn_id: int,
        state: State,
        record: Record,
        failure: Failure | None,
        writer: turnlog.Writer,
    ) -> None:
        self._why.setdefault(turn_id, "stop")  # from here on there is nothing left to cancel
        try:
            store = partial(_stored, turn_id, state, record, failure)
            ended = await self.stored(turn_id, store)
            if not ended:
                return
            tokens = record.usage.completion_tokens if record.usage else 0
            writer.event(turnlog.end(str(state), tokens, len(record.calls)))
            verdict = Verdict.NOT_COMPARABLE
            interrupted = failure is not None and failure.kind == "interrupted"
            if isinstance(ended, services.Ended) and not interrupted:
                waits = signatures.AT_ONCE if record.complete else signatures.AT_ONCE[:1]
                exchange, signer = ended.exchange, ended.signer
                asked = signatures.Asked(turn_id, ended.url, ended.answer_id, exchange.model)
                verdict = await signatures.judge(self.client, asked, exchange, signer, waits=waits)
            writer.event({"type": "verdict", "verdict": str(verdict)})
            await writer.flush()
        finally:
            writer.close()
            self._why.pop(turn_id, None)

    async def stored(self, turn_id: int, store: Callable[[], Result]) -> Result:
        """End a turn's row by `store`, whatever it takes: one that stays open would block its
        conversation for as long as this process lives.
        """
        self._storing.add(turn_id)
        try:
            while True:
                try:
                    ended: Result = await database_sync_to_async(store)()
                    return ended
                except DatabaseError as error:
                    if self.closing:
                        raise  # another process gives the turn up
                    log.warning("the end of turn %s waits for the database: %s", turn_id, error)
                    await asyncio.sleep(BEAT_SECONDS)
        finally:
            self._storing.discard(turn_id)

    async def _live(self) -> None:
        """Beat until cancelled. By itself: who waits for a database that hangs is not dead."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await turnlog.beat(self.process)
            except Exception as error:  # outermost frame of the loop
                log.warning("a heartbeat was not heard: %s", error)

    async def _keep_house(self) -> None:
        """Give up turns of dead processes, until cancelled."""
        while True:
            try:
                await reap()
                await self._end_unsent()
                for chore in CHORES:
                    await chore(self)
            except Exception as error:  # outermost frame of the loop
                log.warning("chat housekeeping: %s", error)
            await asyncio.sleep(BEAT_SECONDS)

    async def _end_unsent(self) -> None:
        """End our open turns that nobody writes: stored, and the database could not tell us so.
        Whoever is being asked for may still begin to write theirs, however long that takes.
        """
        found = set(await database_sync_to_async(_ours)(self.process))
        if self.closing:
            return  # some are left open for another process
        known, asking = self._unwritten
        if known and asking & self._asking:
            return
        unwritten = found - self._turns.keys() - self._storing
        for turn_id in unwritten & known:
            await database_sync_to_async(services.not_sent)(turn_id)
        self._unwritten = unwritten, set(self._asking)

    async def _listen(self) -> None:
        """Stop turns that other processes were asked to stop."""
        while True:
            try:
                async with aclosing(turnlog.stop_requests(self.process)) as requests:
                    async for turn_id in requests:
                        if turn_id in self._turns:
                            self._cancel(turn_id, "stop")
            except RedisError as error:
                log.warning("stop requests of other processes are not heard: %s", error)
            await asyncio.sleep(BEAT_SECONDS)


def _stored(
    turn_id: int, state: State, record: Record, failure: Failure | None
) -> services.Ended | bool:
    """End the turn's row; what cannot be stored as it was is kept as cut off."""
    try:
        return services.end_turn(turn_id, state, record, failure) or False
    except (DataError, IntegrityError):
        log.exception("the end of turn %s cannot be stored", turn_id)
        kept = "".join(record.text), "".join(record.reasoning), record.calls
        return services.cut_off(turn_id, *kept)


async def reap() -> int:
    """End open turns whose process is dead as cut off, with the text that had reached Redis.

    Returns how many. Safe to run anywhere and at the same time: the row changes hands once.
    """
    owners = await database_sync_to_async(_owners)()
    dead = [process for process in owners if not await turnlog.alive(process)]
    count = 0
    for turn_id in await database_sync_to_async(_open_turns)(dead) if dead else ():
        # From here on the process, should it live after all, cannot write into the stream any more.
        await turnlog.append_after(turn_id, {"type": "fence"})
        said = await turnlog.text_of(turn_id)
        count += await database_sync_to_async(services.cut_off)(turn_id, *said)
        turn = await database_sync_to_async(Turn.objects.select_related("chat").get)(pk=turn_id)
        await turnlog.append_after(
            turn_id,
            turnlog.end(turn.state, 0, len(turn.calls)),
            {"type": "verdict", "verdict": turn.verdict},
        )
    return count


def _owners() -> list[str]:
    rows = Turn.objects.filter(state=State.OPEN, chat__medium__in=_OURS).order_by()
    return list(rows.values_list("process", flat=True).distinct())


def _ours(process: str) -> list[int]:
    rows = Turn.objects.filter(state=State.OPEN, process=process)
    return list(rows.values_list("pk", flat=True))


def _open_turns(processes: list[str]) -> list[int]:
    rows = Turn.objects.filter(state=State.OPEN, process__in=processes, chat__medium__in=_OURS)
    return list(rows.values_list("pk", flat=True))


def spawn(work: Coroutine[Any, Any, Result], language: str | None = None) -> asyncio.Task[Result]:
    """A task with a context of its own: a request's context ends with the request, and database
    calls bound to it would fail. It speaks English, or the `language` of whoever is told about it.
    """
    context = contextvars.Context()
    if language is not None:
        context.run(translation.activate, language)
    return asyncio.get_running_loop().create_task(work, context=context)
