"""Writes of pictures, transcripts and embeddings: what is asked for, until it is under way. How it
ends is `inference.media.endings`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import orjson
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import limits
from accounts.errors import TooMany
from accounts.models import User
from attestation import verify
from inference import costs, guard, readiness, seals, volume
from inference.conversations import give_key
from inference.errors import BadPrompt, Busy, NotReady
from inference.media import forms, pictures, quota, recordings, transcripts, uploads, vectors
from inference.media.asking import Call
from inference.media.forms import Part
from inference.media.models import File, Job, Role
from inference.media.recordings import Piece
from inference.media.uploads import Picture
from inference.models import Chat, Medium, State, Turn
from inference.opening import NOT_READY, authorization, check_signer, title_of
from inference.services import of_service
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from protocol import fees

MAX_OPEN = 6
REQUESTS_PER_MINUTE = 20
#: The services that can be asked for a medium, by their types on chain.
TYPES = {
    Medium.IMAGES: fees.IMAGES,
    Medium.SPEECH: (fees.SPEECH,),
    Medium.EMBED: (fees.EMBEDDING,),
}
_NOT_READY = {
    **NOT_READY,
    "no_service": N_("This provider does not offer this any more. Choose another one."),
    "signed_out": N_("Sign in first."),
    "not_funded": N_("Your balance at this provider does not cover its reserve and this request."),
}


@dataclass(frozen=True)
class Opened:
    """A turn that is now open; `call` is None where the same request had been opened before."""

    chat: UUID
    turn: int
    call: Call | None


@dataclass(frozen=True)
class Ask:
    """Who asks whom, and how: `key` makes a request sent twice one request; with `session_key` it
    is not kept; `accept_signer` names a new signer that the person accepts.
    """

    user: User
    provider: str
    key: UUID
    process: str
    session_key: str = ""
    accept_signer: str = ""


def service(provider: str, medium: Medium) -> Listing | None:
    """The service of a provider, if it is one for this medium."""
    listing = ledger.service(Kind.INFERENCE.value, provider) if provider else None
    return listing if listing and listing.service_type in TYPES[medium] else None


def usual_fee(listing: Listing, medium: Medium) -> int | None:
    """What an ordinary request costs at most, before one is written: one picture, a piece of a
    recording, or some sentences. None for a chat.
    """
    if medium == Medium.IMAGES:
        return costs.of_pictures(listing.output_price, 1)
    if medium == Medium.SPEECH:
        return most_of_speech(listing, recordings.PIECE_SECONDS * 1000)
    if medium == Medium.EMBED:
        return most_of_texts(listing, vectors.USUAL_BYTES, vectors.USUAL_TEXTS)
    return None


def most_of_speech(listing: Listing | Turn, length_ms: int) -> int:
    """Neuron at most: what rounds seconds, rounds them up."""
    return costs.most_of_speech(listing.input_price, listing.output_price, -(-length_ms // 1000))


def most_of_texts(listing: Listing | Turn, size: int, texts: int) -> int:
    """Neuron at most for so many texts of `size` bytes together."""
    tariff = fees.tariff(listing.input_price, listing.output_price, listing.additional_info)
    return vectors.most(tariff, size, texts)


# --- pictures -------------------------------------------------------------------------------------


def open_pictures(
    ask: Ask,
    wish: pictures.Wish,
    source: Picture | None = None,
    takes: pictures.Takes = pictures.ANYTHING,
) -> Opened:
    """Write down a wish for pictures (changes of `source` where given) as an open turn, and say
    what to send for it. Raises BadPrompt, NotReady, SignerChanged or Busy.
    """
    before = _asked_before(ask, Medium.IMAGES, wish.prompt)
    if before is not None:
        return before
    listing = service(ask.provider, Medium.IMAGES)
    if listing and source is not None and not takes.edits:
        raise BadPrompt(_("This service makes pictures from words only. Choose another one."))
    fee = costs.of_pictures(listing.output_price, wish.count) if listing else 0
    checked = _checked(ask, listing, Medium.IMAGES, fee, verified=wish.verified)
    mask = uploads.drawn(wish.mask, source.width, source.height) if source and wish.mask else None
    files = {Role.SOURCE: source, Role.MASK: mask}
    with transaction.atomic():
        before = _admitted(ask, Medium.IMAGES, sum(len(x.data) for x in files.values() if x))
        if before is not None:
            return before
        chat = _new_chat(ask, Medium.IMAGES, wish.prompt, orjson.dumps(wish.stored()))
        turn = _new_turn(ask, chat, checked, wish.prompt)
        for role, picture in files.items():
            if picture is not None:
                File.keep(chat, turn, role, 0, picture)
        fields = wish.wire(turn.model, takes)
        if source is None:
            call = _call(turn, checked, pictures.GENERATIONS, orjson.dumps(fields))
        else:
            fields.pop("size", None)  # it stays as large as it is
            parts = [Part(name, str(value).encode()) for name, value in fields.items()]
            parts.append(Part("image", source.data, "image.png", source.media_type))
            if mask is not None:
                parts.append(Part("mask", mask.data, "mask.png", mask.media_type))
            call = _form_call(turn, checked, pictures.EDITS, parts)
        turn.job.count = wish.count
        turn.job.save()
    return Opened(chat.pk, turn.pk, call)


def note_remote(turn_id: int, remote: str, *, working: bool) -> None:
    """Keep the provider's job of an open turn, and when it began to work on it."""
    Job.objects.filter(pk=turn_id).update(remote=remote)
    if working:
        Job.objects.filter(pk=turn_id, working_since=None).update(working_since=timezone.now())


# --- speech ---------------------------------------------------------------------------------------


def open_recording(ask: Ask, wish: transcripts.Wish, pieces: Sequence[Piece], name: str) -> Opened:
    """Keep a recording and open the turn of its first piece. Raises as `open_pictures` does."""
    before = _asked_before(ask, Medium.SPEECH)
    if before is not None:
        return before
    listing = service(ask.provider, Medium.SPEECH)
    fee = most_of_speech(listing, sum(x.length_ms for x in pieces)) if listing else 0
    _checked(ask, listing, Medium.SPEECH, fee, verified=wish.verified)
    with transaction.atomic():
        before = _admitted(ask, Medium.SPEECH, sum(len(x.wav) for x in pieces))
        if before is not None:
            return before
        chat = _new_chat(ask, Medium.SPEECH, name, orjson.dumps(wish.stored()))
        for number, piece in enumerate(pieces):
            spoken = Picture(piece.wav, "audio/wav", 0, 0)
            File.keep(
                chat, None, Role.SPOKEN, number, spoken, start_ms=piece.start_ms,
                length_ms=piece.length_ms,
            )  # fmt: skip
        return open_piece(ask, wish, chat)


def open_piece(ask: Ask, wish: transcripts.Wish, chat: Chat) -> Opened:
    """Open the turn of the first piece of a recording that has no transcript. Raises as
    `open_pictures` does; Busy also while one is open, BadPrompt where none is left.
    """
    with transaction.atomic():
        if not Chat.objects.select_for_update().filter(pk=chat.pk, deleted_at=None).exists():
            raise BadPrompt(_("The recording cannot be read any more."))
        if chat.turns.filter(state=State.OPEN).exists():
            raise Busy(_("This recording is being transcribed."))
        piece = next_piece(chat)
        if piece is None:
            raise BadPrompt(_("All of this recording is transcribed."))
        listing = service(ask.provider, Medium.SPEECH)
        fee = most_of_speech(listing, piece.length_ms) if listing else 0
        checked = _checked(ask, listing, Medium.SPEECH, fee, verified=wish.verified)
        turn = _new_turn(ask, chat, checked, chat.title)
        try:
            data = piece.data
        except seals.Unreadable:
            raise BadPrompt(_("The recording cannot be read any more.")) from None
        parts = [Part(name, value.encode()) for name, value in wish.wire(turn.model)]
        parts.append(Part("file", data, "recording.wav", piece.media_type))
        call = _form_call(turn, checked, transcripts.PATH, parts, piece)
        turn.job.save()
    return Opened(chat.pk, turn.pk, call)


def next_piece(chat: Chat) -> File | None:
    """The first piece of a recording that has no transcript."""
    done = Job.objects.filter(turn__chat=chat, turn__state=State.ANSWERED).values("piece")
    return chat.files.filter(role=Role.SPOKEN).exclude(pk__in=done).order_by("number").first()


# --- embeddings -----------------------------------------------------------------------------------


def open_texts(ask: Ask, wish: vectors.Wish) -> Opened:
    """Open the turn of some texts. Raises as `open_pictures` does."""
    said = "\n".join(wish.texts)
    before = _asked_before(ask, Medium.EMBED, said)
    if before is not None:
        return before
    listing = service(ask.provider, Medium.EMBED)
    fee = most_of_texts(listing, wish.size, len(wish.texts)) if listing else 0
    checked = _checked(ask, listing, Medium.EMBED, fee, verified=wish.verified)
    with transaction.atomic():
        before = _admitted(ask, Medium.EMBED, wish.size)
        if before is not None:
            return before
        chat = _new_chat(ask, Medium.EMBED, said, orjson.dumps(wish.stored()))
        turn = _new_turn(ask, chat, checked, said)
        call = _call(turn, checked, vectors.PATH, wish.body(turn.model))
        turn.job.count = len(wish.texts)
        turn.job.save()
    return Opened(chat.pk, turn.pk, replace(call, count=turn.job.count))


# --- what all share -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Checked:
    """A service that may be asked now, by whom its answers will be signed, and the key's header."""

    listing: Listing
    signer: verify.Signer | None
    header: str = field(repr=False)


def spend_limit(user: User, what: str) -> None:
    """Count one request of a person. Raises Busy above REQUESTS_PER_MINUTE."""
    try:
        limits.spend(what, user.address, limit=REQUESTS_PER_MINUTE, seconds=60)
    except TooMany:
        raise Busy(
            _("Up to %(requests_per_minute)s requests a minute. Wait a little.")
            % {"requests_per_minute": REQUESTS_PER_MINUTE}
        ) from None


def _asked_before(ask: Ask, medium: Medium, said: str | None = None) -> Opened | None:
    """The request that has this key already. Raises BadPrompt where it `said` something else: on a
    page that was gone back to.
    """
    rows = Turn.objects.filter(chat__owner=ask.user, chat__medium=medium, prompt_key=ask.key)
    found = rows.select_related("chat").first()
    if found is not None and said not in (None, found.question):
        raise BadPrompt(_("This form was sent before, with other words. Send it again."))
    return Opened(found.chat_id, found.pk, None) if found else None


def _checked(
    ask: Ask, listing: Listing | None, medium: Medium, fee: int, *, verified: bool
) -> _Checked:
    """Everything that must hold before anything is sent. Raises NotReady, SignerChanged, Busy."""
    spend_limit(ask.user, "media")
    volume.asked(ask.user.pk)
    signer = guard.signer_of(listing) if listing else None
    if listing and verified:
        guard.check(listing, signer)  # before anybody is asked to send money there
    state = readiness.check(ask.user, listing, fee=fee)
    if listing is None or not state.ready:
        raise NotReady(state.code, _(_NOT_READY.get(state.code, N_("This cannot be asked now."))))
    turns = Turn.objects.filter(
        chat__owner=ask.user, chat__medium=medium, provider=listing.provider
    ).exclude(state=State.FAILED)
    before = turns.order_by("-pk").values_list("expected_signer", flat=True).first()
    check_signer(before or "", signer, ask.accept_signer)
    return _Checked(listing, signer, authorization(ask.user, listing.provider))


def _admitted(ask: Ask, medium: Medium, size: int) -> Opened | None:
    """The same request where it was opened a moment ago. Raises Busy or BadPrompt at a limit.

    The owner's row orders concurrent requests of one person, so limits are exact.
    """
    owner = User.objects.select_for_update().get(pk=ask.user.pk)
    before = _asked_before(ask, medium)
    if before is not None:
        return before
    rows = Turn.objects.filter(chat__owner=owner, state=State.OPEN, chat__medium__in=TYPES)
    if rows.count() >= MAX_OPEN:
        raise Busy(
            _("%(max_open)s requests are under way. Wait for one to end.") % {"max_open": MAX_OPEN}
        )
    quota.require(owner, size)
    return None


def _new_chat(ask: Ask, medium: Medium, title: str, wish: bytes) -> Chat:
    chat = Chat(
        owner=ask.user,
        provider=ask.provider,
        session_key=ask.session_key,
        medium=medium,
        asked=True,
    )
    give_key(chat)
    chat.title_sealed = chat.box.seal_text("title", title_of(title.replace("\x00", "\ufffd")))
    chat.options_sealed = chat.box.seal("options", wish)
    chat.save(force_insert=True)
    return chat


def _new_turn(ask: Ask, chat: Chat, checked: _Checked, question: str) -> Turn:
    # Pieces of one recording are turns of one request: only the first bears the page's own key.
    again = chat.turns.exists()
    turn = Turn(
        chat=chat,
        prompt_key=uuid4() if again else ask.key,
        process=ask.process,
        question_sealed=chat.box.seal_text("question", question),
        model=checked.listing.model,
        max_tokens=0,
        **of_service(checked.listing, checked.signer),
    )
    turn.save(force_insert=True)
    return turn


def _call(turn: Turn, checked: _Checked, path: str, body: bytes) -> Call:
    """A request in JSON, kept whole."""
    turn.job = Job(turn=turn, path=path, content_type="application/json")
    turn.request_sealed = turn.chat.box.pack("request", body)
    turn.request_bytes = len(body)
    turn.save(update_fields=["request_sealed", "request_bytes"])
    return Call(turn.url, checked.header, path, turn.job.content_type, body)


def _form_call(
    turn: Turn, checked: _Checked, path: str, parts: list[Part], piece: File | None = None
) -> Call:
    """A request as a form. Its files are kept beside it already, so only its frame is."""
    boundary = secrets.token_hex(20)
    body = forms.build(parts, boundary)
    frame = [
        [x.name, x.filename, x.media_type, "" if x.filename else x.data.decode()] for x in parts
    ]
    turn.job = Job(
        turn=turn,
        path=path,
        content_type=forms.content_type(boundary),
        form_sealed=turn.chat.box.seal("form", orjson.dumps(frame)),
        piece=piece,
    )
    turn.request_bytes = len(body)
    turn.save(update_fields=["request_bytes"])
    length = piece.length_ms if piece else 0
    kind = turn.job.content_type
    return Call(turn.url, checked.header, path, kind, body, length_ms=length)
