"""The opening of a turn: a question becomes a row and the call that is sent for it. Nothing is sent
before the row is there (decision 3).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import crypto, keys, limits
from accounts.errors import TooMany
from accounts.models import ProviderKey, User
from attestation import verify
from inference import (
    abilities,
    attachments,
    context,
    conversations,
    facts,
    guard,
    readiness,
    seals,
    services,
    tools,
    tuned,
    turn_sql,
    volume,
    wire,
)
from inference.abilities import Abilities
from inference.context import Asked
from inference.conversations import TITLE_CHARS
from inference.errors import BadPrompt, Busy, NotReady, SignedOut, SignerChanged, WentOn
from inference.media.models import File
from inference.models import Chat, State, Turn
from inference.options import Options
from inference.relay import Call
from inference.tools import ToolResult
from inference.wire import Message
from ledger import selectors as ledger

MAX_PROMPT_CHARS = 32_000
MAX_OPEN_TURNS = 4
MAX_TURNS = 1_000
QUESTIONS_PER_MINUTE = 30

NOT_READY = {
    "no_service": N_("This provider offers no chat service any more. Choose another one."),
    "signer_not_accepted": N_("The network's owner has not accepted this provider's signing key."),
    "signed_out": N_("Sign in to chat."),
    "hidden": N_("Moderators hid this provider. Read why and confirm, or choose another one."),
    "no_ledger": N_("You have no compute account yet. Deposit first."),
    "not_funded": N_("Your balance at this provider does not cover its reserve and one answer."),
    "not_acknowledged": N_("You have not accepted this provider's signing key yet."),
    "no_key": N_("You have no key for this provider, or it has expired. Your wallet makes one."),
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
    """Count one question of a person. Raises Busy above QUESTIONS_PER_MINUTE, and where the day's
    bytes are used up (`inference.volume`).
    """
    try:
        volume.asked(user.pk, limits.Use("chat", user.address, QUESTIONS_PER_MINUTE, 60))
    except TooMany:
        raise Busy(
            _("Up to %(questions_per_minute)s questions a minute. Wait a little.")
            % {"questions_per_minute": QUESTIONS_PER_MINUTE}
        ) from None


def open_turn(
    chat: Chat,
    text: str,
    *,
    process: str,
    prompt_key: UUID | None = None,
    provider: str = "",
    accept_signer: str = "",
    again: int | None = None,
    called: int | None = None,
    seen: int | None = None,
    results: tuple[str, ...] = (),
    options: Options | None = None,
    batch: UUID | None = None,
    lane: int = 0,
    pictures: tuple[UUID, ...] = (),
    had: tuple[UUID, ...] | None = None,
    adapter: str | None = None,
    session: str | None = None,
    look: bool = False,
) -> Opened:
    """Write down a question as an open turn and say what to send for it.

    The same `prompt_key` in the same chat is the same turn, whoever sends it again. The turn
    follows the shown branch; with `again` it is another version of that turn instead (with its
    question, where `text` is empty, the results it gave, and its pictures: those of `had`, None:
    all). With `called` it follows that turn and gives `results`, one for each function that its
    answer calls. With `seen` it follows that turn (0: nothing) or none. `pictures` were kept before
    (`inference.attachments`) and go to models only that say they take some.
    Turns asked side by side share a `batch` and differ in `lane`. `adapter` names a tuned model of
    the provider, "" its base model; None: whichever the turn before was asked (or `again`).
    When the provider's signer changed within the chat, `accept_signer` must name the new one. The
    `session` that asks, where one is named, must live still. With `look`, Unknown is raised where
    pictures may go along and it is not known whether the model takes them.
    Raises BadPrompt, NotReady (with the gate's code), SignerChanged, SignedOut, WentOn or Busy.
    """
    prompt_key = prompt_key or uuid4()
    provider = ledger.address_of(provider or chat.provider) or ""
    known = facts.read(chat, prompt_key, provider, session or "")
    if known is None:
        raise BadPrompt(_("This conversation has ended. Begin a new one."))
    if session is not None and not known.signed_in:
        raise _signed_out()
    if known.asked is not None:
        return Opened(known.asked, None)
    listing = known.listing
    able = abilities.heard(listing)
    if look and known.pictures and listing is not None and able is None:
        raise abilities.Unknown(listing)
    able = able or abilities.NOTHING
    parent, question, given = _place(chat, text, again, called, results, known.leaf)
    # Another tab may have asked, or turned to another version.
    follows = again is None and called is None
    if follows and seen is not None and not _is_shown_last(chat, seen, known.leaf):
        raise WentOn(
            _(
                "This conversation went on in another window or on another device; that is shown "
                "now. Nothing was sent: send your question again to ask it after that."
            )
        )
    spend_limit(chat.owner)
    options = options or chat.options
    files = attachments.wanted(chat, pictures, again, had)
    model = tuned.wanted(chat, adapter, listing, again or parent)
    messages = _messages(chat, parent, question, given, files, options, able)
    body = wire.request_body(
        model=model,
        messages=messages,
        max_tokens=options.max_tokens,
        options=options.wire(able.parameters, results=bool(given)),
    )
    shown = [picture for message in messages for picture in message.pictures]
    picture_bytes = sum(len(picture.url) for picture in shown)
    picture_tokens = sum(picture.most_tokens for picture in shown)
    signer = guard.signer_of(listing) if listing else None
    if listing is not None and options.verified:
        guard.check(listing, signer)  # before anybody is asked to send money there
    size = len(body) - picture_bytes
    state = readiness.check(
        chat.owner, listing, size, options.max_tokens, picture_tokens, has=known.held
    )
    if listing is None or not state.ready:
        raise NotReady(state.code, _(NOT_READY[state.code]))
    check_signer(known.signer, signer, accept_signer)
    header = _header(chat.owner, provider, known.key)
    turn = {
        "chat_id": chat.pk,
        "prompt_key": prompt_key,
        "process": process,
        "parent_id": parent,
        "batch": batch,
        "lane": lane,
        "model": model,
        "max_tokens": options.max_tokens,
        "request_bytes": len(body),
        "picture_bytes": picture_bytes,
        "picture_tokens": picture_tokens,
        **_sealed(chat, question, given, body),
        **services.of_service(listing, signer),
    }
    try:
        number = _insert(chat, turn, question, options, files, known.key, session)
    except IntegrityError:
        before = _asked_before(chat, prompt_key)
        if before is None:
            raise Busy(_("An answer is still being written in this conversation.")) from None
        return Opened(before, None)
    return Opened(number, Call(listing.url, header, body))


def same_words(chat: Chat, prompt_key: UUID, text: str) -> None:
    """Raises BadPrompt where a form was sent before with other words: on a page that was gone back
    to, where what is typed now would be taken for what was asked then.
    """
    asked = chat.turns.filter(prompt_key=prompt_key).first()
    if asked is not None and text.strip() and asked.question != _clean(text):
        raise BadPrompt(_("This form was sent before, with other words. Send it again."))


def _clean(text: str) -> str:
    return text.strip().replace("\x00", "\ufffd")


def _signed_out() -> SignedOut:
    return SignedOut(_("You are signed out. Nothing was sent."))


def _messages(
    chat: Chat,
    parent: int | None,
    question: str,
    results: tuple[ToolResult, ...],
    files: list[File],
    options: Options,
    able: Abilities,
) -> list[Message]:
    """The conversation with its new question. Raises BadPrompt where nobody looks at pictures."""
    if files and not able.pictures:
        raise BadPrompt(
            _(
                "This provider does not say that its model looks at pictures. Remove them (“Edit” "
                "shows those of a question that was asked), or choose another provider."
            )
        )
    try:
        parts = tuple(attachments.part(file) for file in files)
        room = attachments.MOST - len(parts) if able.pictures else 0
        return context.messages(
            chat, parent, options, Asked(question, parts, results), pictures=room,
            functions=able.parameters is None or "tools" in able.parameters,
        )  # fmt: skip
    except seals.Unreadable:
        raise BadPrompt(_("This conversation has ended. Begin a new one.")) from None


def _place(
    chat: Chat,
    text: str,
    again: int | None,
    called: int | None,
    results: tuple[str, ...],
    parent: int | None,
) -> tuple[int | None, str, tuple[ToolResult, ...]]:
    """The parent of a new turn, its question, and the results that it gives. Raises BadPrompt."""
    question = _clean(text)
    given: tuple[ToolResult, ...] = ()
    if again is not None:
        old = chat.turns.filter(pk=again).first()
        if old is None:
            raise BadPrompt(_("The question to ask again is not there any more."))
        parent, question, given = old.parent_id, question or old.question, old.results
    elif called is not None:
        parent, given = called, _results(chat.turns.filter(pk=called).first(), results)
    if not question and not given:
        raise BadPrompt(_("Write a question first."))
    if len(question) > MAX_PROMPT_CHARS:
        raise BadPrompt(
            _("Questions may have up to %(max_prompt_chars)s characters.")
            % {"max_prompt_chars": f"{MAX_PROMPT_CHARS:,}"}
        )
    return parent, question, given


def _is_shown_last(chat: Chat, seen: int, leaf: int | None) -> bool:
    """Whether a page that shows `seen` last shows the branch that ends with `leaf`, in whichever of
    its columns.
    """
    if seen == (leaf or 0):
        return True
    columns = chat.turns.filter(pk__in=(seen, leaf or 0), batch__isnull=False)
    return columns.count() == 2 and columns.values("batch").distinct().count() == 1


def _results(turn: Turn | None, texts: tuple[str, ...]) -> tuple[ToolResult, ...]:
    """What is given for the functions that the answer of `turn` calls. Raises BadPrompt."""
    calls = turn.calls if turn is not None and turn.state == State.ANSWERED else ()
    if not calls:
        raise BadPrompt(_("The function call to answer is not there any more."))
    if len(texts) != len(calls) or not all(text.strip() for text in texts):
        raise BadPrompt(_("Give a result for each function call."))
    if sum(map(len, texts)) > MAX_PROMPT_CHARS:
        raise BadPrompt(
            _("Results may have up to %(most)s characters together.")
            % {"most": f"{MAX_PROMPT_CHARS:,}"}
        )
    pairs = zip(calls, texts, strict=True)
    return tuple(
        ToolResult(call.id, call.name, text.replace("\x00", "\ufffd")) for call, text in pairs
    )


def _asked_before(chat: Chat, prompt_key: UUID) -> int | None:
    return chat.turns.filter(prompt_key=prompt_key).values_list("pk", flat=True).first()


def authorization(user: User, provider: str) -> str:
    """The header of the person's key for a provider. Raises NotReady("no_key")."""
    now = timezone.now()
    key = keys.usable(user, provider, now)
    header = _header(user, provider, key)
    if key is not None:
        keys.touch(key, now)
    return header


def _header(user: User, provider: str, key: ProviderKey | None) -> str:
    try:
        if key is not None:
            return key.bearer()
    except crypto.Unreadable:
        # The next question makes another one.
        keys.forget(user, provider)
    raise NotReady("no_key", _(NOT_READY["no_key"]))


def check_signer(before: str, signer: verify.Signer | None, accepted: str) -> None:
    """A new signer may be a new machine: the person decides before anything is sent to it. Raises
    SignerChanged."""
    now = signer.address if signer else ""
    if before and now.lower() not in (before.lower(), accepted.lower()):
        raise SignerChanged(before, now)


def _sealed(
    chat: Chat, question: str, results: tuple[ToolResult, ...], body: bytes
) -> dict[str, bytes]:
    """What a new turn's row holds of what is asked."""
    try:
        return {
            "question_sealed": chat.box.seal_text("question", question),
            "results_sealed": chat.box.seal("results", tools.pack(results)),
            "request_sealed": chat.box.pack("request", body),
        }
    except seals.Unreadable:
        raise BadPrompt(_("This conversation has ended. Begin a new one.")) from None


def _insert(
    chat: Chat,
    turn: dict[str, Any],
    question: str,
    options: Options,
    files: list[File],
    key: ProviderKey | None,
    session: str | None,
) -> int:
    """Store a new turn; its number. Raises Busy, SignedOut, or IntegrityError where its key or lane
    is taken."""
    goes_on = not turn["lane"]  # the first column does, until another is chosen
    sealed = conversations.sealed_options(chat, options)
    # A turn without files is one statement's work, which needs no transaction around it.
    whole = bool(files) or connection.in_atomic_block
    with transaction.atomic() if whole else nullcontext():
        open_turns, turns, here, signed_in, number = turn_sql.open_chat_turn(
            chat, turn, now=timezone.now(), key=key.pk if key else None, goes_on=goes_on,
            options=sealed, title=chat.box.seal_text("title", title_of(question)),
            most_open=MAX_OPEN_TURNS, most_turns=MAX_TURNS, session=session,
        )  # fmt: skip
        if not signed_in:
            raise _signed_out()
        if not here:
            raise BadPrompt(_("This conversation has ended. Begin a new one."))
        if open_turns >= MAX_OPEN_TURNS:
            raise Busy(
                _("%(max_open_turns)s answers are being written. Wait for one to end.")
                % {"max_open_turns": MAX_OPEN_TURNS}
            )
        if turns >= MAX_TURNS:
            raise BadPrompt(
                _("A conversation holds %(max_turns)s answers. Begin a new one.")
                % {"max_turns": f"{MAX_TURNS:,}"}
            )
        if files:
            attachments.attach(Turn(pk=number, chat=chat), files)
    if goes_on:
        chat.provider, chat.asked, chat.leaf_id = turn["provider"], True, number
        chat.options_sealed = sealed
    return number


def title_of(question: str) -> str:
    """What a conversation is called after its first question."""
    line = " ".join(question.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"
