"""Writes of turns: every change of a turn goes through here, as one transaction each.

How they begin is `inference.opening`, writes of whole conversations `inference.conversations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import F
from django.utils import timezone

from accounts import keys, limits
from accounts.models import User
from attestation import verify
from inference import costs, seals, tools, turn_sql, volume
from inference.failures import Failure
from inference.models import FeeKind, State, Turn, Verdict
from inference.relay import Record
from ledger.records import Listing
from protocol import fees

RECHECKS_PER_MINUTE = 20


@dataclass(frozen=True)
class Ended:
    """What the verdict on an ended turn rests on, beside what the provider signed."""

    url: str
    answer_id: str
    exchange: verify.Exchange
    signer: verify.Signer


def of_service(listing: Listing, signer: verify.Signer | None) -> dict[str, Any]:
    """The columns of a new turn that say of its service what the chain says of it now."""
    return {
        "provider": listing.provider,
        "serving": listing.serving,
        "url": listing.url,
        "input_price": listing.input_price,
        "output_price": listing.output_price,
        "additional_info": listing.additional_info,
        "expected_signer": signer.address if signer else "",
        "signer_acknowledged": bool(signer and signer.acknowledged),
        "routing_proof": bool(signer and signer.routing),
    }


def end_turn(
    turn_id: int, state: State, record: Record, failure: Failure | None = None
) -> Ended | None:
    """Store how a chat's open turn ended (2 queries). None if somebody else had ended it before
    (given up).
    """
    turn = turn_sql.going(turn_id)
    if failure is not None and failure.kind == "key_rejected":
        keys.forget(User.objects.get(pk=turn.owner), turn.provider, turn.created_at)
    said, thought = "".join(record.text), "".join(record.reasoning)
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    cost = costs.of_answer(
        tariff,
        usage=record.usage,
        # Without a count a provider bills the words of the answer, and what is thought inside it.
        text=thought + said if record.thoughts.found else said,
        finished=state == State.ANSWERED,
        failure=failure,
        maximum=_most(turn, tariff, thought + said),
        reason=record.finish_reason,
    )
    sealed = _sealed(seals.box(turn.chat, turn.key_sealed), record, failure)
    used = turn_sql.end(
        turn_id,
        state=state,
        **sealed,
        response_headers=storable(record.headers),
        request_sha256=record.request_sha256,
        response_sha256=record.response_sha256,
        response_bytes=record.received_bytes,
        complete=record.complete,
        answer_id=record.answer_id,
        finish_reason=record.finish_reason,
        first_token_ms=milliseconds(record.first_token_seconds),
        reasoning_ms=milliseconds(record.first_text_seconds or record.seconds) if thought else 0,
        total_ms=milliseconds(record.seconds),
        **spent(record.usage, cost),
        **ending(failure),
    )
    if used is None:
        return None
    volume.came(turn.owner, sealed.values(), turn.asked_bytes)
    exchange = verify.Exchange(
        record.request_sha256,
        record.response_sha256,
        complete=record.complete,
        reused=used,
        model=turn.model,
    )
    signer = verify.Signer(turn.expected_signer, turn.signer_acknowledged, turn.routing_proof)
    return Ended(turn.url, record.answer_id, exchange, signer)


def _most(turn: Turn | turn_sql.Going, tariff: fees.Tariff, text: str) -> int:
    """Neuron at most for an answer of which `text` came."""
    tokens = costs.written(text, turn.max_tokens)
    return costs.most(tariff, turn.text_bytes, tokens, turn.picture_tokens)


def spent(usage: fees.Usage | None, cost: costs.Cost) -> dict[str, Any]:
    """The columns of an ended turn that say what it used (tokens) and cost (neuron)."""
    return {
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else 0,
        "fee": cost.fee,
        "fee_kind": FeeKind(cost.kind),
    }


def ending(failure: Failure | None) -> dict[str, Any]:
    """The columns of a turn that ends now: why, where it failed, and what its verdict waits for."""
    # Nobody is left to ask for a signature, and there would be nothing whole to compare it with.
    interrupted = failure is not None and failure.kind in ("interrupted", "not_sent")
    return {
        "failure": failure.kind if failure else "",
        "failure_status": failure.status if failure else 0,
        "retry_after": failure.retry_after if failure else 0,
        "verdict": Verdict.NOT_COMPARABLE if interrupted else Verdict.PENDING,
        "verdict_reason": "not_received_whole" if interrupted else "",
        "ended_at": timezone.now(),
    }


def _sealed(box: seals.Box, record: Record, failure: Failure | None) -> dict[str, bytes]:
    """What was said, for the database; nothing where the conversation's key is gone (its session
    ended meanwhile, and with it everybody who could read this).
    """
    try:
        return {
            "answer_sealed": box.seal_text("answer", "".join(record.text)),
            "reasoning_sealed": box.seal_text("reasoning", "".join(record.reasoning)),
            "calls_sealed": box.seal("calls", tools.pack(record.calls.found)),
            "detail_sealed": box.seal_text("detail", failure.detail if failure else ""),
            "response_sealed": box.seal("response", record.packed()),
            "arrivals_sealed": box.pack("arrivals", record.packed_arrivals()),
        }
    except seals.Unreadable:
        return {}


def cut_off(turn_id: int, text: str, reasoning: str = "", calls: tools.Calls | None = None) -> bool:
    """End a turn whose process died, with the exact prefix that reached the stream.

    What the process had hashed is lost with it, so nothing can be compared. Its cost is unknown
    until it settles; the question is never sent again.
    """
    turn = Turn.objects.select_related("chat").get(pk=turn_id)
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    record = Record(text=[text], reasoning=[reasoning], calls=calls or tools.Calls())
    sealed = _sealed(turn.chat.box, record, None)
    changed = Turn.objects.filter(pk=turn_id, state=State.OPEN).update(
        state=State.CUT_OFF,
        **sealed,
        # What a program's request can cost was counted against its token when it was opened.
        fee=turn.fee or _most(turn, tariff, reasoning + text),
        fee_kind=FeeKind.UNKNOWN,
        failure="interrupted",
        verdict=Verdict.NOT_COMPARABLE,
        verdict_reason="not_received_whole",
        ended_at=timezone.now(),
    )
    if changed:
        asked = turn.question_sealed, turn.results_sealed, turn.request_sealed
        volume.came(turn.chat.owner_id, sealed.values(), sum(map(len, asked)))
    return bool(changed)


def not_sent(turn_id: int) -> bool:
    """End an open turn that was stored while nobody could be told so: nothing was sent for it, and
    what was set aside is given back. False where it had ended.
    """
    turn = Turn.objects.get(pk=turn_id)
    ended = ending(Failure("not_sent"))
    given = {"answer_id": "", "fee": 0, "fee_kind": FeeKind.NONE, **ended}
    return (
        turn_sql.end(turn_id, turn.token_id or 0, -int(turn.fee), state=State.FAILED, **given)
        is not None
    )


def store_verdict(
    turn_id: int, result: verify.ReplyVerdict, document: object | None, *, asked: bool = False
) -> Verdict:
    """Keep a verdict and the signature it rests on, for ever; `asked`: that the provider was. Gives
    the one that is kept: of two who judge at once, the first.
    """
    pending = Turn.objects.filter(pk=turn_id, verdict=Verdict.PENDING)
    if not pending.update(
        signature_tries=F("signature_tries") + int(asked),
        verdict=Verdict(result.verdict),
        verdict_reason=result.reason,
        signature=storable(document),
        signer=result.signer,
        scheme=result.scheme,
        signed_request=result.signed_request,
        signed_response=result.signed_response,
        signed_model=result.signed_model,
        signature_at=timezone.now() if document is not None else None,
    ):
        kept = Turn.objects.filter(pk=turn_id).values_list("verdict", flat=True).first()
        return Verdict(kept or result.verdict)
    return Verdict(result.verdict)


def storable(document: object) -> object:
    """The same JSON without NUL, which PostgreSQL cannot hold: a provider must not be able to keep
    a verdict from being stored by writing one into its reply.
    """
    if isinstance(document, str):
        return document.replace("\x00", "\ufffd")
    if isinstance(document, list):
        return [storable(item) for item in document]
    if isinstance(document, dict):
        return {storable(name): storable(value) for name, value in document.items()}
    return document


def reopen_verdict(turn: Turn) -> bool:
    """Make a missing signature pending again. False where there is nothing to ask for. Raises
    TooMany: each one is a question to the provider.
    """
    if not turn.can_be_asked_again:
        return False
    limits.spend("recheck", turn.chat.owner.address, limit=RECHECKS_PER_MINUTE, seconds=60)
    rows = Turn.objects.filter(pk=turn.pk, verdict=turn.verdict, verdict_reason="not_found")
    return bool(rows.update(verdict=Verdict.PENDING))


def milliseconds(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))
