"""Writes of the chat: every change of a chat or turn goes through here, as one transaction each."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import crypto, keys, limits
from accounts.errors import TooMany
from accounts.models import User
from attestation import verify
from inference import costs, readiness, wire
from inference.errors import BadPrompt, Busy, NotReady, SignerChanged
from inference.failures import Failure
from inference.models import Chat, FeeKind, State, Turn, Verdict
from inference.relay import Call, Record
from inference.wire import Message
from ledger import selectors as ledger
from ledger.records import Listing
from protocol import fees

MAX_PROMPT_CHARS = 32_000
MAX_CONTEXT_CHARS = 96_000
MAX_TOKENS = readiness.MAX_TOKENS
MAX_OPEN_TURNS = 4
QUESTIONS_PER_MINUTE = 30
TITLE_CHARS = 80

_NOT_READY = {
    "no_service": "This provider offers no chat service any more. Choose another one.",
    "signer_not_accepted": "The network's owner has not accepted this provider's signing key.",
    "signed_out": "Sign in to chat.",
    "no_ledger": "You have no compute account yet. Deposit first.",
    "not_funded": "Your balance at this provider does not cover its reserve and one answer.",
    "not_acknowledged": "You have not accepted this provider's signing key yet.",
    "no_key": "You have no key for this provider, or it has expired. Your wallet makes one.",
}


@dataclass(frozen=True)
class Opened:
    """A turn that is now open. `call` is None when the same prompt had been opened before."""

    turn: int
    call: Call | None


def create_chat(owner: User, provider: str) -> Chat:
    """An empty conversation with a provider (EIP-55 address)."""
    return Chat.objects.create(owner=owner, provider=provider)


def delete_chat(chat: Chat) -> None:
    """Delete a conversation with all its turns, for good. Raises Busy while an answer is
    written.
    """
    with transaction.atomic():
        if chat.turns.select_for_update().filter(state=State.OPEN).exists():
            raise Busy("Stop the answer first, then delete the conversation.")
        chat.delete()


def spend_limit(user: User) -> None:
    """Count one question of a person. Raises Busy above QUESTIONS_PER_MINUTE."""
    try:
        limits.spend("chat", user.address, limit=QUESTIONS_PER_MINUTE, seconds=60)
    except TooMany:
        raise Busy(f"Up to {QUESTIONS_PER_MINUTE} questions a minute. Wait a little.") from None


def open_turn(
    chat: Chat,
    text: str,
    *,
    process: str,
    prompt_key: UUID | None = None,
    provider: str = "",
    accept_signer: str = "",
) -> Opened:
    """Write down a question as an open turn and say what to send for it.

    The same `prompt_key` in the same chat is the same turn, whoever sends it again. When the
    provider's signer changed within the chat, `accept_signer` must name the new one. Raises
    BadPrompt, NotReady (with the gate's code), SignerChanged or Busy.
    """
    prompt_key = prompt_key or uuid4()
    before = _asked_before(chat, prompt_key)
    if before is not None:
        return Opened(before, None)
    question = text.strip().replace("\x00", "\ufffd")
    if not question:
        raise BadPrompt("Write a question first.")
    if len(question) > MAX_PROMPT_CHARS:
        raise BadPrompt(f"Questions may have up to {MAX_PROMPT_CHARS:,} characters.")
    spend_limit(chat.owner)
    provider = ledger.address_of(provider or chat.provider) or ""
    listing = readiness.chat_service(provider)
    messages = [*_history(chat), Message("user", question)]
    body = wire.request_body(
        model=listing.model if listing else "", messages=messages, max_tokens=MAX_TOKENS
    )
    state = readiness.check(chat.owner, listing, len(body))
    if listing is None or not state.ready:
        raise NotReady(state.code, _NOT_READY[state.code])
    signer = verify.signer_of(
        tee_signer=listing.tee_signer,
        acknowledged=listing.tee_signer_acknowledged,
        verifiability=listing.verifiability,
        additional_info=listing.additional_info,
    )
    _check_signer(chat, provider, signer, accept_signer)
    authorization = _authorization(chat.owner, provider)
    try:
        turn = _create(chat, question, body, listing, signer, process, prompt_key)
    except IntegrityError:
        before = _asked_before(chat, prompt_key)
        if before is None:
            raise Busy("An answer is still being written in this conversation.") from None
        return Opened(before, None)
    return Opened(turn.pk, Call(listing.url, authorization, body))


def _asked_before(chat: Chat, prompt_key: UUID) -> int | None:
    return chat.turns.filter(prompt_key=prompt_key).values_list("pk", flat=True).first()


def _authorization(user: User, provider: str) -> str:
    """The header of the person's key for a provider. Raises NotReady("no_key")."""
    key = keys.usable(user, provider, timezone.now())
    try:
        if key is not None:
            keys.touch(key, timezone.now())
            return key.bearer()
    except crypto.Unreadable:
        forget_key(user, provider)
    raise NotReady("no_key", _NOT_READY["no_key"])


def forget_key(user: User, provider: str) -> None:
    """Drop stored keys that the provider does not take, so that the next question makes one."""
    keys.forget(user, provider)


def _check_signer(chat: Chat, provider: str, signer: verify.Signer | None, accepted: str) -> None:
    """A new signer may be a new machine: the person decides before anything is sent to it."""
    turns = chat.turns.filter(provider=provider).exclude(state=State.FAILED)
    before = turns.order_by("-pk").values_list("expected_signer", flat=True).first()
    now = signer.address if signer else ""
    if before and now.lower() not in (before.lower(), accepted.lower()):
        raise SignerChanged(before, now)


def _create(
    chat: Chat,
    question: str,
    body: bytes,
    listing: Listing,
    signer: verify.Signer | None,
    process: str,
    prompt_key: UUID,
) -> Turn:
    with transaction.atomic():
        # The owner's row orders concurrent prompts of one person, so the limit is exact.
        owner = User.objects.select_for_update().get(pk=chat.owner_id)
        if Turn.objects.filter(chat__owner=owner, state=State.OPEN).count() >= MAX_OPEN_TURNS:
            raise Busy(f"{MAX_OPEN_TURNS} answers are being written. Wait for one to end.")
        turn = Turn.objects.create(
            chat=chat,
            prompt_key=prompt_key,
            process=process,
            question=question,
            provider=listing.provider,
            serving=listing.serving,
            url=listing.url,
            model=listing.model,
            input_price=listing.input_price,
            output_price=listing.output_price,
            additional_info=listing.additional_info,
            max_tokens=MAX_TOKENS,
            request=body,
            expected_signer=signer.address if signer else "",
            signer_acknowledged=bool(signer and signer.acknowledged),
            routing_proof=bool(signer and signer.routing),
        )
        chat.provider = listing.provider
        chat.title = chat.title or _title(question)
        chat.save(update_fields=["provider", "title", "updated_at"])
        return turn


def _title(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _history(chat: Chat) -> list[Message]:
    """Earlier questions with their answers, oldest first, as many of the newest as fit."""
    turns = chat.turns.exclude(answer="").exclude(state__in=(State.OPEN, State.FAILED))
    messages: list[Message] = []
    room = MAX_CONTEXT_CHARS
    for question, answer in turns.order_by("-pk").values_list("question", "answer")[:200]:
        room -= len(question) + len(answer)
        if room < 0:
            break
        messages += [Message("assistant", answer), Message("user", question)]
    return messages[::-1]


def end_turn(turn_id: int, state: State, record: Record, failure: Failure | None = None) -> bool:
    """Store how an open turn ended. False if somebody else had ended it before (given up)."""
    turn = Turn.objects.select_related("chat__owner").get(pk=turn_id)
    if failure is not None and failure.kind == "key_rejected":
        forget_key(turn.chat.owner, turn.provider)
    text = "".join(record.text)
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    cost = costs.of_answer(
        tariff,
        usage=record.usage,
        text=text,
        finished=state == State.ANSWERED,
        failure=failure,
        maximum=costs.most(tariff, len(turn.request), turn.max_tokens),
    )
    usage = record.usage
    # Nobody is left to ask for a signature, and there would be nothing whole to compare it with.
    interrupted = failure is not None and failure.kind == "interrupted"
    verdict = Verdict.NOT_COMPARABLE if interrupted else Verdict.PENDING
    changed = Turn.objects.filter(pk=turn_id, state=State.OPEN).update(
        state=state,
        answer=text,
        request_sha256=record.request_sha256,
        response_sha256=record.response_sha256,
        response_bytes=record.received_bytes,
        complete=record.complete,
        answer_id=record.answer_id,
        finish_reason=record.finish_reason,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=usage.cached_tokens if usage else 0,
        fee=cost.fee,
        fee_kind=FeeKind(cost.kind),
        first_token_ms=_ms(record.first_token_seconds),
        total_ms=_ms(record.seconds),
        failure=failure.kind if failure else "",
        failure_detail=failure.detail if failure else "",
        failure_status=failure.status if failure else 0,
        retry_after=failure.retry_after if failure else 0,
        verdict=verdict,
        verdict_reason="not_received_whole" if interrupted else "",
        ended_at=timezone.now(),
    )
    return bool(changed)


def cut_off(turn_id: int, text: str) -> bool:
    """End a turn whose process died, with the exact prefix that reached the stream.

    What the process had hashed is lost with it, so nothing can be compared. Its cost is unknown
    until it settles; the question is never sent again.
    """
    turn = Turn.objects.get(pk=turn_id)
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    changed = Turn.objects.filter(pk=turn_id, state=State.OPEN).update(
        state=State.CUT_OFF,
        answer=text,
        fee=costs.most(tariff, len(turn.request), turn.max_tokens),
        fee_kind=FeeKind.UNKNOWN,
        failure="interrupted",
        verdict=Verdict.NOT_COMPARABLE,
        verdict_reason="not_received_whole",
        ended_at=timezone.now(),
    )
    return bool(changed)


def store_verdict(turn_id: int, result: verify.ReplyVerdict, document: object | None) -> None:
    """Keep a verdict and the signature it rests on, for ever."""
    Turn.objects.filter(pk=turn_id).update(
        verdict=Verdict(result.verdict),
        verdict_reason=result.reason,
        signature=_storable(document),
        signer=result.signer,
        scheme=result.scheme,
        signed_request=result.signed_request,
        signed_response=result.signed_response,
        signature_at=timezone.now() if document is not None else None,
    )


def _storable(document: object) -> object:
    """The same JSON without NUL, which PostgreSQL cannot hold: a provider must not be able to keep
    a verdict from being stored by writing one into its reply.
    """
    if isinstance(document, str):
        return document.replace("\x00", "\ufffd")
    if isinstance(document, list):
        return [_storable(item) for item in document]
    if isinstance(document, dict):
        return {_storable(name): _storable(value) for name, value in document.items()}
    return document


def reopen_verdict(turn: Turn) -> bool:
    """Make a missing signature pending again. False where there is nothing to ask for."""
    rows = Turn.objects.filter(pk=turn.pk, verdict=turn.verdict, verdict_reason="not_found")
    return turn.can_be_asked_again and bool(rows.update(verdict=Verdict.PENDING))


def _ms(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))
