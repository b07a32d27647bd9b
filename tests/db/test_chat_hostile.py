"""What a hostile provider says must never keep a conversation open or a verdict pending."""

from __future__ import annotations

import asyncio
import json
import secrets
from functools import reduce
from operator import add
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Length

from accounts import limits
from inference import conversations, opening, services, volume
from inference import hub as hubs
from inference.errors import Busy
from inference.models import FeeKind, State, Verdict
from inference.pages_turn import TurnView
from protocol import replies
from tests.db.chat_world import in_db, stage
from tests.live.chat_upstream import SIGNER, SIGNER_KEY, Asked, Reply, closing

pytestmark = pytest.mark.django_db(transaction=True)
UINT256_MAX = 2**256 - 1


@pytest.mark.parametrize(
    "document",
    [
        {"text": "\x00", "signature": "0x00", "signing_address": "\x00"},
        {"\x00": 1},
        ["\x00"],
        "\x00",
        {"text": 10**4000},
        {"text": "x" * 20_000},
    ],
)
async def test_a_signature_reply_no_database_should_hold_is_still_judged(document: Any) -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        await reply.tokens("Hello")
        await reply.end()

    async with stage(script) as on:
        on.upstream.signatures["answer-1"] = document
        turn = await on.ended(await on.ask())
        assert turn.state == State.ANSWERED
        assert turn.verdict in (Verdict.UNAVAILABLE, Verdict.FAILED)
        assert len(json.dumps(turn.signature)) < 16 << 10


async def test_a_nul_beside_a_signature_does_not_hide_that_the_answer_was_altered() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        await reply.tokens("Hello")
        reply.upstream.sign("answer-1", asked, b"another answer")
        reply.upstream.signatures["answer-1"]["note"] = "\x00"
        await reply.end()

    async with stage(script) as on:
        turn = await on.ended(await on.ask())
        assert turn.verdict == Verdict.ALTERED
        assert turn.signature and turn.signature["note"] == "\ufffd"


async def test_a_routing_proof_is_called_one_though_the_listing_does_not_say_so() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        await reply.tokens("Hello")
        answer = replies.sha256_hex(reply.body + closing((1, 1)))
        request = replies.sha256_hex(asked.body)
        text = f"{request}:{answer}:centralized:api.example:{'0' * 64}"
        reply.upstream.signatures["answer-1"] = {
            "text": text,
            "signature": replies.sign_text(text, SIGNER_KEY),
            "signing_address": SIGNER,
        }
        await reply.end((1, 1))

    async with stage(script) as on:
        turn = await on.ended(await on.ask())
        assert (turn.verdict, turn.routing_proof) == (Verdict.VERIFIED, False)
        assert TurnView.of(turn).proof.routing


async def test_a_bill_beyond_every_number_ends_the_turn_and_not_the_chat() -> None:
    """Free for small prompts, 2^53 times a huge price for large ones: the estimate cannot see it,
    and the product fits no column."""
    tiers = [
        {"maxInputTokens": 1000, "inputMultiplier": 0, "outputMultiplier": 0},
        {"maxInputTokens": 0, "inputMultiplier": 2**53, "outputMultiplier": 2**53},
    ]

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        await reply.tokens("Hello")
        await reply.signed_end("answer-1", asked, (2**53, 2**53))

    async with stage(
        script,
        input_price=UINT256_MAX,
        output_price=UINT256_MAX,
        additional_info=json.dumps({"tieredPricing": {"tiers": tiers}}),
    ) as on:
        turn = await on.ended(await on.ask())
        assert turn.state == State.ANSWERED
        assert (turn.fee, turn.fee_kind) == (UINT256_MAX, FeeKind.KNOWN)
        await in_db(conversations.delete_chat)(on.chat)


async def test_two_counts_of_one_answer_are_told_as_the_last() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        for usage in ({"prompt_tokens": 1, "completion_tokens": 1}, {"prompt_tokens": -1}):
            await reply.send(b"data: " + json.dumps({"usage": usage}).encode() + b"\n\n")
        await reply.tokens("Hello")
        await reply.signed_end("answer-1", asked, (3, 4))

    async with stage(script) as on:
        turn = await on.ended(await on.ask())
        assert (turn.prompt_tokens, turn.completion_tokens) == (3, 4)
        assert turn.verdict == Verdict.VERIFIED


async def test_an_answer_id_in_other_letters_is_the_same_id() -> None:
    """Brokers look ids up in lower case, so a second spelling would be an old signature again."""

    async def script(reply: Reply, asked: Asked) -> None:
        answer_id = "abc-1" if len(reply.upstream.chats) == 1 else "ABC-1"
        await reply.start(answer_id)
        await reply.tokens("Hello")
        await reply.signed_end(answer_id, asked)

    async with stage(script) as on:
        assert (await on.ended(await on.ask())).verdict == Verdict.VERIFIED
        second = await on.ended(await on.ask())
        assert (second.verdict, second.verdict_reason) == (Verdict.FAILED, "reused")


@pytest.mark.parametrize(
    ("trouble", "over"),
    [
        ("ALTER TABLE inference_turn RENAME TO away", "ALTER TABLE away RENAME TO inference_turn"),
        (
            "ALTER TABLE inference_turn ADD CONSTRAINT never CHECK (state = 'open') NOT VALID",
            "ALTER TABLE inference_turn DROP CONSTRAINT never",
        ),
    ],
    ids=["away", "refuses"],
)
async def test_an_answer_outlives_trouble_with_the_database(
    monkeypatch: pytest.MonkeyPatch, trouble: str, over: str
) -> None:
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    written, away = asyncio.Event(), asyncio.Event()

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("answer-1")
        await reply.tokens("Hello")
        written.set()
        await away.wait()
        await reply.signed_end("answer-1", asked)

    async with stage(script) as on:
        turn_id = await on.ask()
        await written.wait()
        await in_db(_sql)(trouble)
        try:
            away.set()
            await asyncio.sleep(0.5)
        finally:
            await in_db(_sql)(over)
        turn = await on.ended(turn_id)
        assert (turn.state, turn.answer) == (State.ANSWERED, "Hello")


def _sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


#: Of a turn, what is stored of what was said.
SEALED = (
    *("question", "results", "request", "answer", "reasoning", "calls", "detail", "response"),
    "arrivals",
)


async def test_nobody_fills_the_database_at_a_provider_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that costs nothing sends as much as is stored, in pieces that nobody reads."""

    async def noise(reply: Reply, asked: Asked) -> None:
        await reply.start(f"answer-{len(reply.upstream.chats)}")
        await reply.send(f": {secrets.token_hex(30_000)}\n\n".encode())
        await reply.tokens("Hello")
        await reply.end()

    async with stage(noise) as on:
        number, _into = limits.window(24 * 3600)
        counted = limits.key("chat-bytes", f"user {on.chat.owner_id}", number)
        cache.delete(counted)
        monkeypatch.setattr(volume, "A_DAY", 120_000)
        assert (await on.ended(await on.ask())).state == State.ANSWERED
        lost = (await in_db(opening.open_turn)(on.chat, "Lost?", process="dead")).turn
        assert await in_db(services.cut_off)(lost, "Half an ans")
        assert (await on.ended(await on.ask())).state == State.ANSWERED
        with pytest.raises(Busy, match="Go on tomorrow"):
            await on.ask()
        assert len(on.upstream.chats) == 2
        # All that is stored counts, however it ended.
        sizes = [Length(f"{name}_sealed") for name in SEALED]
        stored = await in_db(lambda: on.chat.turns.aggregate(all=Sum(reduce(add, sizes))))()
        assert stored == {"all": cache.get(counted) - 3 * volume.BESIDE}
