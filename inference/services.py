"""Writes of turns: every change of a turn goes through here, as one transaction each.

Writes of whole conversations are `inference.conversations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import crypto, keys, limits
from accounts.errors import TooMany
from accounts.models import User
from attestation import verify
from inference import (
    abilities,
    attachments,
    context,
    conversations,
    costs,
    guard,
    readiness,
    seals,
    tuned,
    wire,
)
from inference.abilities import Abilities
from inference.conversations import TITLE_CHARS
from inference.errors import BadPrompt, Busy, NotReady, SignerChanged
from inference.failures import Failure
from inference.media.models import File
from inference.models import Chat, FeeKind, Medium, State, Turn, Verdict
from inference.options import Options
from inference.relay import Call, Record
from inference.wire import Message
from ledger import selectors as ledger
from ledger.records import Listing
from protocol import fees

MAX_PROMPT_CHARS = 32_000
MAX_OPEN_TURNS = 4
MAX_TURNS = 1_000
QUESTIONS_PER_MINUTE = 30

NOT_READY = {
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
    """A turn that is now open. `call` is None when the same prompt had been opened before;
    `refused` says why a second provider was not asked beside it.
    """

    turn: int
    call: Call | None
    refused: str = ""


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
    again: int | None = None,
    options: Options | None = None,
    batch: UUID | None = None,
    lane: int = 0,
    pictures: tuple[UUID, ...] = (),
    adapter: str | None = None,
) -> Opened:
    """Write down a question as an open turn and say what to send for it.

    The same `prompt_key` in the same chat is the same turn, whoever sends it again. The turn
    follows the shown branch; with `again` it is another version of that turn instead (with its
    question, where `text` is empty, and its pictures). `pictures` were kept before
    (`inference.attachments`) and go to models only that say they take some.
    Turns asked side by side share a `batch` and differ in `lane`. `adapter` names a tuned model of
    the provider, "" its base model; None: whichever the turn before was asked (or `again`).
    When the provider's signer changed within the chat, `accept_signer` must name the new one.
    Raises BadPrompt, NotReady (with the gate's code), SignerChanged or Busy.
    """
    prompt_key = prompt_key or uuid4()
    before = _asked_before(chat, prompt_key)
    if before is not None:
        return Opened(before, None)
    parent, question = _place(chat, text, again)
    spend_limit(chat.owner)
    options = options or chat.options
    provider = ledger.address_of(provider or chat.provider) or ""
    listing = readiness.chat_service(provider)
    files = attachments.wanted(chat, pictures, again)
    able = abilities.known(listing)
    model = tuned.wanted(chat, adapter, listing, again or parent)
    messages = _messages(chat, parent, question, files, options, able)
    body = wire.request_body(
        model=model,
        messages=messages,
        max_tokens=options.max_tokens,
        options=options.wire(able.parameters),
    )
    shown = [picture for message in messages for picture in message.pictures]
    picture_bytes = sum(len(picture.url) for picture in shown)
    picture_tokens = sum(picture.most_tokens for picture in shown)
    signer = guard.signer_of(listing) if listing else None
    if listing is not None and options.verified:
        guard.check(listing, signer)  # before anybody is asked to send money there
    state = readiness.check(
        chat.owner, listing, len(body) - picture_bytes, options.max_tokens, picture_tokens
    )
    if listing is None or not state.ready:
        raise NotReady(state.code, NOT_READY[state.code])
    _check_signer(chat, provider, signer, accept_signer)
    header = authorization(chat.owner, provider)
    turn = _turn(chat, question, body, listing, signer, model)
    turn.process, turn.prompt_key = process, prompt_key
    turn.parent_id = parent
    turn.max_tokens, turn.batch, turn.lane = options.max_tokens, batch, lane
    turn.picture_bytes, turn.picture_tokens = picture_bytes, picture_tokens
    try:
        _insert(chat, turn, question, options, files)
    except IntegrityError:
        before = _asked_before(chat, prompt_key)
        if before is None:
            raise Busy("An answer is still being written in this conversation.") from None
        return Opened(before, None)
    return Opened(turn.pk, Call(listing.url, header, body))


def _messages(
    chat: Chat,
    parent: int | None,
    question: str,
    files: list[File],
    options: Options,
    able: Abilities,
) -> list[Message]:
    """The conversation with its new question. Raises BadPrompt where nobody looks at pictures."""
    if files and not able.pictures:
        raise BadPrompt(
            "This provider does not say that its model looks at pictures. Remove them, or choose "
            "another provider."
        )
    try:
        parts = tuple(attachments.part(file) for file in files)
        room = attachments.MOST - len(parts) if able.pictures else 0
        said = context.messages(chat, parent, options, room)
    except seals.Unreadable:
        raise BadPrompt("This conversation has ended. Begin a new one.") from None
    return [*said, Message("user", question, parts)]


def _place(chat: Chat, text: str, again: int | None) -> tuple[int | None, str]:
    """The parent and the question of a new turn. Raises BadPrompt."""
    question = text.strip().replace("\x00", "\ufffd")
    # Read anew: another tab may have asked, or turned to another version, since `chat` was loaded.
    parent: int | None = Chat.objects.values_list("leaf_id", flat=True).get(pk=chat.pk)
    if again is not None:
        old = chat.turns.filter(pk=again).first()
        if old is None:
            raise BadPrompt("The question to ask again is not there any more.")
        parent, question = old.parent_id, question or old.question
    if not question:
        raise BadPrompt("Write a question first.")
    if len(question) > MAX_PROMPT_CHARS:
        raise BadPrompt(f"Questions may have up to {MAX_PROMPT_CHARS:,} characters.")
    return parent, question


def _asked_before(chat: Chat, prompt_key: UUID) -> int | None:
    return chat.turns.filter(prompt_key=prompt_key).values_list("pk", flat=True).first()


def authorization(user: User, provider: str) -> str:
    """The header of the person's key for a provider. Raises NotReady("no_key")."""
    key = keys.usable(user, provider, timezone.now())
    try:
        if key is not None:
            keys.touch(key, timezone.now())
            return key.bearer()
    except crypto.Unreadable:
        forget_key(user, provider)
    raise NotReady("no_key", NOT_READY["no_key"])


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


def _turn(
    chat: Chat,
    question: str,
    body: bytes,
    listing: Listing,
    signer: verify.Signer | None,
    model: str,
) -> Turn:
    """The facts of a new turn as they are now; the chain may say something else tomorrow."""
    try:
        sealed = {
            "question_sealed": chat.box.seal_text("question", question),
            "request_sealed": chat.box.pack("request", body),
        }
    except seals.Unreadable:
        raise BadPrompt("This conversation has ended. Begin a new one.") from None
    return Turn(
        chat=chat,
        provider=listing.provider,
        serving=listing.serving,
        url=listing.url,
        model=model,
        input_price=listing.input_price,
        output_price=listing.output_price,
        additional_info=listing.additional_info,
        request_bytes=len(body),
        expected_signer=signer.address if signer else "",
        signer_acknowledged=bool(signer and signer.acknowledged),
        routing_proof=bool(signer and signer.routing),
        **sealed,
    )


def _insert(chat: Chat, turn: Turn, question: str, options: Options, files: list[File]) -> None:
    """Store a new turn. Raises Busy, or IntegrityError where its key or lane is taken."""
    with transaction.atomic():
        # The owner's row orders concurrent prompts of one person, so the limit is exact.
        owner = User.objects.select_for_update().get(pk=chat.owner_id)
        open_turns = Turn.objects.filter(chat__owner=owner, state=State.OPEN)
        if open_turns.filter(chat__medium=Medium.CHAT).count() >= MAX_OPEN_TURNS:
            raise Busy(f"{MAX_OPEN_TURNS} answers are being written. Wait for one to end.")
        if chat.turns.count() >= MAX_TURNS:
            raise BadPrompt(f"A conversation holds {MAX_TURNS:,} answers. Begin a new one.")
        turn.save(force_insert=True)
        attachments.attach(turn, files)
        if turn.lane:
            return  # the first column is the one that goes on, until another is chosen
        chat.provider, chat.asked = turn.provider, True
        chat.options_sealed = conversations.sealed_options(chat, options)
        if not chat.title_sealed:
            chat.title_sealed = chat.box.seal_text("title", _title(question))
        chat.leaf = turn
        chat.save(
            update_fields=[
                "provider", "asked", "options_sealed", "title_sealed", "leaf", "updated_at"
            ]
        )  # fmt: skip


def _title(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def end_turn(turn_id: int, state: State, record: Record, failure: Failure | None = None) -> bool:
    """Store how an open turn ended. False if somebody else had ended it before (given up)."""
    turns = Turn.objects.defer("request_sealed", "question_sealed")
    turn = turns.select_related("chat__owner").get(pk=turn_id)
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
        maximum=costs.most(tariff, turn.text_bytes, turn.max_tokens, turn.picture_tokens),
    )
    usage = record.usage
    # Nobody is left to ask for a signature, and there would be nothing whole to compare it with.
    interrupted = failure is not None and failure.kind == "interrupted"
    reasoned = any(record.reasoning)
    verdict = Verdict.NOT_COMPARABLE if interrupted else Verdict.PENDING
    changed = Turn.objects.filter(pk=turn_id, state=State.OPEN).update(
        state=state,
        **_sealed(turn.chat, record, failure),
        response_headers=storable(record.headers),
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
        reasoning_ms=_ms(record.first_text_seconds or record.seconds) if reasoned else 0,
        total_ms=_ms(record.seconds),
        failure=failure.kind if failure else "",
        failure_status=failure.status if failure else 0,
        retry_after=failure.retry_after if failure else 0,
        verdict=verdict,
        verdict_reason="not_received_whole" if interrupted else "",
        ended_at=timezone.now(),
    )
    return bool(changed)


def _sealed(chat: Chat, record: Record, failure: Failure | None) -> dict[str, bytes]:
    """What was said, for the database; nothing where the conversation's key is gone (its session
    ended meanwhile, and with it everybody who could read this).
    """
    try:
        return {
            "answer_sealed": chat.box.seal_text("answer", "".join(record.text)),
            "reasoning_sealed": chat.box.seal_text("reasoning", "".join(record.reasoning)),
            "detail_sealed": chat.box.seal_text("detail", failure.detail if failure else ""),
            "response_sealed": chat.box.seal("response", record.packed()),
        }
    except seals.Unreadable:
        return {}


def cut_off(turn_id: int, text: str, reasoning: str = "") -> bool:
    """End a turn whose process died, with the exact prefix that reached the stream.

    What the process had hashed is lost with it, so nothing can be compared. Its cost is unknown
    until it settles; the question is never sent again.
    """
    turn = Turn.objects.select_related("chat").get(pk=turn_id)
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    record = Record(text=[text], reasoning=[reasoning])
    changed = Turn.objects.filter(pk=turn_id, state=State.OPEN).update(
        state=State.CUT_OFF,
        **_sealed(turn.chat, record, None),
        # What a program's request can cost was counted against its token when it was opened.
        fee=turn.fee or costs.most(tariff, turn.text_bytes, turn.max_tokens, turn.picture_tokens),
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
        signature=storable(document),
        signer=result.signer,
        scheme=result.scheme,
        signed_request=result.signed_request,
        signed_response=result.signed_response,
        signed_model=result.signed_model,
        signature_at=timezone.now() if document is not None else None,
    )


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
    """Make a missing signature pending again. False where there is nothing to ask for."""
    rows = Turn.objects.filter(pk=turn.pk, verdict=turn.verdict, verdict_reason="not_found")
    return turn.can_be_asked_again and bool(rows.update(verdict=Verdict.PENDING))


def _ms(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))
