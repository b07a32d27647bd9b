"""Many answers at once over two web processes, sockets dropped in the middle, one process killed
and the other told to end: every stored answer is what the provider sent or a marked prefix of it,
every fee counts once.

`CHAT_TURNS=200 pytest tests/live/test_chat_load.py` runs the full load.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import websockets

from accounts.models import User
from inference import conversations, requests, tasks
from inference.models import Chat, State, Turn, Verdict
from inference.opening import MAX_OPEN_TURNS
from protocol import fees
from runner.processes import free_port
from tests import factories
from tests.db.chat_world import make_key, world
from tests.live.chat_upstream import Asked, Reply, ThreadedUpstream, Upstream
from tests.live.test_chat_process import web
from tests.live.test_chat_socket import cookie

pytestmark = pytest.mark.django_db(transaction=True)

TURNS = int(os.environ.get("CHAT_TURNS", "24"))
DROPPED = 0.2
#: Seconds between two words, of most answers and of the long ones.
PAUSE, LONG_PAUSE = 0.05, 0.2
#: Words of every fifth answer, which both processes have: with many people the last ask while the
#: first still read, and one process is back before the other goes.
LONG = max(150, TURNS * 5 // 4)
#: As patient as a browser: giving up early on a busy machine only makes it busier.
OPEN_SECONDS = 120
QUESTION = re.compile(rb"question (\d+)\D")


def words(number: int) -> list[str]:
    """What the provider answers to question `number`: short answers and some long ones."""
    return [f"{number}:{i} " for i in range(40 if number % 5 else LONG)]


def usage(number: int) -> tuple[int, int]:
    return 10 + number, 100 + number


async def provider(reply: Reply, asked: Asked) -> None:
    found = QUESTION.search(asked.body)
    assert found
    number = int(found[1])
    # This server closes after each answer; unsaid, the next question could meet a dying connection.
    await reply.start(f"answer-{number}", Connection="close")
    await reply.tokens(*words(number), pause=PAUSE if number % 5 else LONG_PAUSE)
    await reply.signed_end(f"answer-{number}", asked, usage(number))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(provider) as started:
        yield started


@dataclass
class Browser:
    """One person's page: asks once, watches to the end, comes back when its line is cut."""

    number: int
    chat: Chat
    cookie: str
    ports: list[int]
    drops: bool
    key: str = field(default_factory=lambda: str(uuid4()))
    turn: int = 0
    seq: int = 0
    seen: str = ""
    reconnected: int = 0

    async def run(self) -> None:
        deadline = time.monotonic() + 240 + 3 * TURNS
        at = self.number
        while time.monotonic() < deadline:
            port = self.ports[at % 2]
            at += 1
            try:
                if await self._visit(port):
                    return
            except (OSError, TimeoutError, websockets.WebSocketException):
                pass
            self.reconnected += 1
            await asyncio.sleep(0.3)
        raise AssertionError(f"question {self.number} never ended")

    async def _visit(self, port: int) -> bool:
        header = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{port}"}
        url = f"ws://127.0.0.1:{port}/ws/chat/{self.chat.pk}"
        async with websockets.connect(
            url, additional_headers=header, proxy=None, open_timeout=OPEN_SECONDS
        ) as socket:
            if self.turn:
                asked: dict[str, Any] = {"type": "resume", "turn": self.turn, "after": self.seq}
            else:
                text = f"question {self.number}."
                asked = {"type": "prompt", "key": self.key, "text": text}
            await socket.send(json.dumps(asked))
            while True:
                said = json.loads(await asyncio.wait_for(socket.recv(), OPEN_SECONDS))
                if self._hear(said):
                    return True
                if self.drops and self.seen.count(" ") > 10:
                    self.drops = False
                    socket.transport.abort()
                    return False

    def _hear(self, said: dict[str, Any]) -> bool:
        if said["type"] == "turn":
            assert self.turn in (0, said["turn"]), "the same question is the same turn"
            self.turn = said["turn"]
        elif said["type"] == "error":
            # "restarting": the same question goes to the other process
            assert said["code"] in ("closing", "unavailable"), said
        elif said["seq"] > self.seq:
            assert said["seq"] == self.seq + 1 or said["type"] in ("end", "verdict"), "no gap"
            self.seq = said["seq"]
            self.seen += said.get("text", "") if said["type"] == "delta" else ""
        return bool(said["type"] == "end")


def people(url: str, count: int) -> list[tuple[Chat, str]]:
    """Enough people with money and keys for `count` open answers, and a cookie each."""
    first = world(url)
    owners = [first.owner]
    for number in range(1, -(-count // MAX_OPEN_TURNS)):
        user = User.objects.for_address(factories.address(f"person {number}"))
        factories.purse(user.address)
        factories.sub_account(user.address, acknowledged=True)
        make_key(user)
        owners.append(user)
    cookies = [cookie(owner) for owner in owners]
    made = []
    for number in range(count):
        at = number % len(owners)
        made.append((conversations.create_chat(owners[at], factories.PETRA), cookies[at]))
    return made


def test_nothing_is_lost_changed_or_counted_twice(upstream: Upstream) -> None:
    chosen = random.Random(7)
    ports = [free_port(), free_port()]
    made = people(upstream.url, TURNS)
    dropped = set(chosen.sample(range(TURNS), int(TURNS * DROPPED)))
    browsers = [
        Browser(number, chat, header, ports, number in dropped)
        for number, (chat, header) in enumerate(made)
    ]
    with ExitStack() as stack:
        processes = [stack.enter_context(web(port)) for port in ports]

        async def end(at: int, how: signal.Signals) -> None:
            processes[at].send_signal(how)
            await asyncio.to_thread(processes[at].wait, 20)

        async def replaced() -> None:
            """Once most have asked and words arrive. The one that took over serves them all."""
            while sum(browser.seen.count(" ") > 3 for browser in browsers) < TURNS * 0.6:
                await asyncio.sleep(0.1)
            await end(1, signal.SIGKILL)
            await asyncio.to_thread(stack.enter_context, web(ports[1]))
            await end(0, signal.SIGTERM)

        async def everybody() -> None:
            await asyncio.gather(replaced(), *(browser.run() for browser in browsers))

        asyncio.run(everybody())
        _check(browsers, upstream)
    assert any(browser.reconnected for browser in browsers)


def _check(browsers: list[Browser], upstream: Upstream) -> None:
    for _ in range(80):
        if not Turn.objects.filter(verdict=Verdict.PENDING).exists():
            break
        time.sleep(0.1)
    # A process killed between an answer's end and its verdict leaves that to the worker.
    for left in Turn.objects.filter(verdict=Verdict.PENDING):
        tasks.check_reply(left.pk)
    turns = {turn.pk: turn for turn in Turn.objects.select_related("chat__owner")}
    assert len(turns) == len(browsers), "each question is one turn"
    asked = [int(found[1]) for x in upstream.chats if (found := QUESTION.search(x.body))]
    assert len(asked) == len(set(asked)), "never sent twice"
    cut: list[Turn] = []
    counted: dict[str, int] = {}
    for browser in browsers:
        turn = turns[browser.turn]
        whole = "".join(words(browser.number))
        assert browser.seen == turn.answer, "what was seen is what is stored"
        tariff = fees.tariff(turn.input_price, turn.output_price, "")
        if turn.state == State.ANSWERED:
            assert turn.answer == whole and browser.number in asked
            assert turn.verdict == Verdict.VERIFIED, (turn.verdict, turn.verdict_reason)
            fee = fees.chat_fee(tariff, fees.Usage(*usage(browser.number)))
            assert (turn.fee, turn.fee_kind) == (fee, "known")
            owner = turn.chat.owner.address
            counted[owner] = counted.get(owner, 0) + fee
        else:
            cut.append(turn)
            assert (turn.state, turn.failure) == (State.CUT_OFF, "interrupted")
            assert whole.startswith(turn.answer)  # all words may have come, their end did not
            assert turn.answer == "" or browser.number in asked
            assert (turn.fee_kind, turn.verdict) == ("unknown", Verdict.NOT_COMPARABLE)
    assert len(cut) < len(browsers), "only what a process could not end"
    assert len({turn.process for turn in cut}) == 2, "the killed one's and the ended one's"
    for person in User.objects.filter(address__in=counted):
        (line,) = requests.page(person, None, requests.Filter(), 1).reconciled
        assert line.known == counted[person.address], "every fee once"
