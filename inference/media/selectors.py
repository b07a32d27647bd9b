"""Reads of the pages of pictures, speech and embeddings. Requests come from `inference.access`, so
everything here is the owner's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.pages_parts import Pager, pager
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from inference import access, choosing, costs, seals, selectors
from inference.choosing import Chosen
from inference.errors import ChatError, SignerChanged
from inference.media import pictures, quota, recordings, services, transcripts, vectors, words
from inference.media.models import File, Role
from inference.media.pages import (
    Asking,
    AudioPage,
    Elsewhere,
    EmbeddedPage,
    EmbeddingsPage,
    FileView,
    Form,
    ImagesPage,
    Line,
    Quota,
    Spoken,
    Texts,
    TranscriptPage,
    Work,
    WorkPage,
)
from inference.media.transcripts import Heard
from inference.media.vectors import Embedded
from inference.models import Chat, FeeKind, Medium, State, Turn
from inference.selectors import Visit
from ledger import selectors as ledger
from ledger.records import Listing

PAGE_SIZE = 12
#: What a page never needs of a turn.
_HEAVY = ("request_sealed", "response_sealed")


def listings(medium: Medium, also: str = "", user: User | None = None) -> list[Listing]:
    """Services a `user` can choose for a medium, in the chat's order; `also`: as in the chat."""
    return [x for kind in services.TYPES[medium] for x in selectors.chat_listings(kind, also, user)]


def home_of(medium: Medium) -> str:
    """The page with the form of a medium, and its list."""
    return reverse(f"inference:{_HOMES[medium]}")


_HOMES = {Medium.IMAGES: "images", Medium.SPEECH: "audio", Medium.EMBED: "embeddings"}


def elsewhere(
    medium: Medium, provider: str, fee: Callable[[Listing], int]
) -> tuple[Elsewhere, ...]:
    """Up to two other services for a request that costs `fee` at each, cheapest first (2 queries):
    what failed is offered there, with price and verdict, and never sent by itself. None whose
    evidence failed.
    """
    found = [x for x in listings(medium) if x.provider != provider and x.tee_signer_acknowledged]
    known = attestation.standings([ServiceKey.of(x) for x in found])
    found = [x for x in found if not known[ServiceKey.of(x)].failed]
    prices = {x.provider: fee(x) for x in found}
    cheapest = sorted(found, key=lambda x: prices[x.provider])[:2]
    return tuple(
        Elsewhere(x.provider, x.model, prices[x.provider], known[ServiceKey.of(x)].overall)
        for x in cheapest
    )


def form(
    visit: Visit,
    medium: Medium,
    wish: dict[str, Any],
    error: ChatError | None = None,
    file_again: bool = False,
) -> Form:
    """The form of a page (about 13 queries)."""
    choices = listings(medium, visit.provider, visit.user)
    choice = Chosen(next((x for x in choices if x.provider == visit.provider), None))
    if not visit.provider:
        choice = choosing.first(visit.user, choices, medium, services.usual_fee)
    service = choice.service
    fee = services.usual_fee(service, medium) if service else None
    side = selectors.side_page(
        visit.user,
        service,
        medium=medium,
        fee=fee,
        verified=bool(wish.get("verified")),
        why=choice.why,
    )
    undo = f"inference:{_HOMES[medium]}_undo"
    deleted = access.comes_back(visit.user, visit.deleted, visit.session_key, medium)
    used = quota.used(visit.user) if visit.user else 0
    return Form(
        side=side,
        choices=selectors.options(choices, service),
        key=uuid4(),
        wish=wish,
        quota=Quota(used, settings.MEDIA_QUOTA),
        error=error.sentence if error else "",
        error_href=error.href if error else "",
        new_signer=error.signer if isinstance(error, SignerChanged) else "",
        file_again=file_again,
        undo=reverse(undo, args=[deleted]) if deleted else "",
    )


def _works(visit: Visit, medium: Medium) -> QuerySet[Chat]:
    if visit.user is None:
        return Chat.objects.none()
    return access.chats_of(visit.user, visit.session_key, medium).order_by("-created_at")


def _pager(found: Any, what: str, path: str, provider: str) -> Pager | None:
    def page(number: int) -> str:
        given = {"provider": provider, "page": number if number > 1 else ""}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{path}?{query}" if query else path

    shown = pager(found, what, page)
    return shown if found.count > PAGE_SIZE else None


# --- pictures -------------------------------------------------------------------------------------


def images_page(
    visit: Visit,
    number: int = 1,
    *,
    wish: dict[str, Any] | None = None,
    edit: UUID | None = None,
    error: ChatError | None = None,
    file_again: bool = False,
) -> ImagesPage:
    """The gallery and its form, filled with `wish`, for the picture `edit` where given."""
    found = ledger.paginate(_works(visit, Medium.IMAGES), number, PAGE_SIZE, lambda chat: chat)
    source = file_of(visit, edit) if edit else None
    return ImagesPage(
        form=form(visit, Medium.IMAGES, wish or {"count": 1}, error, file_again),
        works=works(found.items),
        pager=_pager(found, _("requests"), reverse("inference:images"), visit.provider),
        source=FileView.of(source) if source else None,
        sizes=pictures.SIZES[1:],
        formats=pictures.FORMATS[1:],
        counts=tuple(range(1, pictures.MOST + 1)),
        max_prompt=pictures.MAX_PROMPT_CHARS,
    )


def works(chats: tuple[Chat, ...]) -> tuple[Work, ...]:
    """Requests for pictures with their files (2 queries, however many)."""
    rows = Turn.objects.filter(chat__in=chats).select_related("job__piece").order_by("pk")
    turns = {turn.chat_id: turn for turn in rows.defer(*_HEAVY)}
    files: dict[UUID, list[File]] = {}
    for file in File.objects.filter(chat__in=chats).defer("sealed").order_by("number"):
        files.setdefault(file.chat_id, []).append(file)
    newest = next((turns[chat.pk] for chat in chats if chat.pk in turns), None)
    others: tuple[Elsewhere, ...] = ()
    if newest is not None and newest.state == State.FAILED:
        count = newest.job.count
        others = elsewhere(
            Medium.IMAGES, newest.provider, lambda x: costs.of_pictures(x.output_price, count)
        )
    return tuple(
        _work(
            chat,
            turns[chat.pk],
            files.get(chat.pk, []),
            others if turns[chat.pk] is newest else (),
        )
        for chat in chats
        if chat.pk in turns
    )


def _work(chat: Chat, turn: Turn, files: list[File], others: tuple[Elsewhere, ...]) -> Work:
    turn.chat = chat  # one object, so that its key is opened once
    by_role: dict[str, list[FileView]] = {}
    for file in files:
        by_role.setdefault(file.role, []).append(FileView.of(file))
    asking = Asking.of(turn, timezone.now())
    return Work(
        id=chat.pk,
        prompt=turn.question,
        kept=chat.kept,
        created_at=chat.created_at,
        asking=asking,
        pictures=tuple(by_role.get(Role.MADE, ())),
        source=next(iter(by_role.get(Role.SOURCE, ())), None),
        mask=next(iter(by_role.get(Role.MASK, ())), None),
        wish=wish_of(chat),
        count=turn.job.count,
        total_ms=turn.total_ms,
        can_recheck=turn.can_be_asked_again,
        lost=isinstance(chat.box, seals.LostBox),
        others=others,
    )


def work_page(chat: Chat) -> WorkPage:
    """One request for pictures, whole."""
    return WorkPage(works((chat,))[0])


def wish_of(chat: Chat) -> dict[str, Any]:
    """What was wanted, as stored; empty where it cannot be read."""
    try:
        found = orjson.loads(chat.box.open("options", chat.options_sealed) or b"{}")
    except (seals.Unreadable, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def file_of(visit: Visit, file_id: UUID) -> File | None:
    """A file of a request that the person may read."""
    if visit.user is None:
        return None
    file = File.objects.select_related("chat__owner").filter(pk=file_id).first()
    if file is None:
        return None
    chats = access.chats_of(visit.user, visit.session_key, Medium(file.chat.medium))
    return file if chats.filter(pk=file.chat_id).exists() else None


# --- speech ---------------------------------------------------------------------------------------


def audio_page(
    visit: Visit,
    number: int = 1,
    *,
    wish: dict[str, Any] | None = None,
    error: ChatError | None = None,
    file_again: bool = False,
) -> AudioPage:
    """The list of transcripts and its form."""
    done = Q(turns__state=State.ANSWERED)
    rows = _works(visit, Medium.SPEECH).annotate(
        answered=Count("turns", filter=done, distinct=True),
        writing=Count("turns", filter=Q(turns__state=State.OPEN), distinct=True),
    )
    found = ledger.paginate(rows, number, PAGE_SIZE, lambda chat: chat)
    spoken = File.objects.filter(chat__in=found.items, role=Role.SPOKEN).order_by()
    sizes = {
        row["chat"]: (row["pieces"], row["ms"])
        for row in spoken.values("chat").annotate(pieces=Count("pk"), ms=Sum("length_ms"))
    }
    lines = []
    for chat in found.items:
        pieces, length = sizes.get(chat.pk, (0, 0))
        lines.append(Line.of(chat, length, pieces, chat.answered, bool(chat.writing)))
    return AudioPage(
        form=form(visit, Medium.SPEECH, wish or {"timed": True}, error, file_again),
        lines=tuple(lines),
        pager=_pager(found, _("transcripts"), reverse("inference:audio"), visit.provider),
        languages=words.languages(),
        max_seconds=recordings.MAX_SECONDS,
    )


def transcript_page(chat: Chat, error: ChatError | None = None) -> TranscriptPage:
    """One recording with all that was heard of it."""
    turns = list(chat.turns.select_related("job__piece").defer("request_sealed").order_by("pk"))
    for turn in turns:
        turn.chat = chat
    pieces = list(chat.files.filter(role=Role.SPOKEN).defer("sealed").order_by("number"))
    heard = _heard(turns)
    now = timezone.now()
    again = next((turn.pk for turn in turns if turn.can_be_asked_again), 0)
    last = turns[-1] if turns else None
    others: tuple[Elsewhere, ...] = ()
    if last is not None and last.state == State.FAILED and last.job.piece is not None:
        length = last.job.piece.length_ms
        others = elsewhere(
            Medium.SPEECH, last.provider, lambda x: services.most_of_speech(x, length)
        )
    return TranscriptPage(
        id=chat.pk,
        title=chat.title,
        kept=chat.kept,
        created_at=chat.created_at,
        heard=heard,
        segments=tuple(Spoken.of(x) for x in heard.segments),
        pieces=tuple(Asking.of(turn, now) for turn in turns),
        count=len(pieces),
        done=sum(turn.state == State.ANSWERED for turn in turns),
        length=transcripts.clock(sum(piece.length_ms for piece in pieces)),
        fee=sum(int(turn.fee) for turn in turns),
        fee_kind=_fee_kind(turns),
        wish=wish_of(chat),
        provider=turns[-1].provider if turns else chat.provider,
        recheck=again,
        error=error.sentence if error else "",
        new_signer=error.signer if isinstance(error, SignerChanged) else "",
        others=others,
    )


def _fee_kind(turns: list[Turn]) -> str:
    """How sure the sum of their fees is: as sure as the least sure of them."""
    found = {turn.fee_kind for turn in turns}
    unsure = (kind for kind in (FeeKind.UNKNOWN, FeeKind.ESTIMATED) if kind in found)
    return next(unsure, FeeKind.KNOWN).value


def heard_of(chat: Chat) -> Heard:
    """All that was heard of a recording so far, read anew from what the provider sent."""
    turns = chat.turns.select_related("job__piece").order_by("pk")
    return _heard([turn for turn in turns if turn.state == State.ANSWERED])


def _heard(turns: list[Turn]) -> Heard:
    parts = []
    for turn in turns:
        piece = turn.job.piece
        if turn.state != State.ANSWERED or piece is None:
            continue
        try:
            parts.append((piece.start_ms, transcripts.read_answer(turn.response, piece.length_ms)))
        except (seals.Unreadable, transcripts.NoTranscript):
            parts.append((piece.start_ms, Heard(turn.answer)))
    return transcripts.together(sorted(parts, key=lambda part: part[0]))


def recording_of(chat: Chat) -> bytes:
    """The whole recording as one WAV file. Raises seals.Unreadable."""
    pieces = chat.files.filter(role=Role.SPOKEN).order_by("number")
    found = []
    for piece in pieces:
        piece.chat = chat
        found.append(piece.data)
    return recordings.joined(found)


# --- embeddings -----------------------------------------------------------------------------------


def embeddings_page(
    visit: Visit,
    number: int = 1,
    *,
    wish: dict[str, Any] | None = None,
    error: ChatError | None = None,
) -> EmbeddingsPage:
    """The list of what was embedded, and its form."""
    works = _works(visit, Medium.EMBED)
    found = ledger.paginate(works, number, PAGE_SIZE, lambda chat: chat)
    turns = Turn.objects.filter(chat__in=found.items).select_related("job")
    by_chat = {turn.chat_id: turn for turn in turns.defer(*_HEAVY)}
    return EmbeddingsPage(
        form=form(visit, Medium.EMBED, wish or {}, error),
        lines=tuple(Texts.of(chat, by_chat[chat.pk]) for chat in found.items if chat.pk in by_chat),
        pager=_pager(found, _("requests"), home_of(Medium.EMBED), visit.provider),
        max_texts=vectors.MAX_TEXTS,
        max_chars=vectors.MAX_TEXT_CHARS,
    )


def embedded_page(chat: Chat, error: ChatError | None = None) -> EmbeddedPage:
    """Some texts with their vectors, and how alike each two are."""
    turn = chat.turns.select_related("job").defer("request_sealed").get()
    turn.chat = chat
    found, texts = embedded_of(turn)
    others: tuple[Elsewhere, ...] = ()
    wish = wish_of(chat)
    if turn.state == State.FAILED and texts:
        size, count = sum(map(vectors.weight, texts)), len(texts)
        others = elsewhere(
            Medium.EMBED, turn.provider, lambda x: services.most_of_texts(x, size, count)
        )
    return EmbeddedPage(
        id=chat.pk,
        kept=chat.kept,
        created_at=chat.created_at,
        asking=Asking.of(turn, timezone.now()),
        count=turn.job.count,
        texts=texts,
        found=found,
        wish=wish,
        size=turn.request_bytes,
        total_ms=turn.total_ms,
        can_recheck=turn.can_be_asked_again,
        lost=isinstance(chat.box, seals.LostBox),
        error=error.sentence if error else "",
        others=others,
    )


def embedded_of(turn: Turn) -> tuple[Embedded | None, tuple[str, ...]]:
    """The vectors of a turn, read anew from what the provider sent, and the texts; neither where
    their key is gone."""
    if isinstance(turn.chat.box, seals.LostBox):
        return None, ()  # `question` then says that it cannot be read, which is no text of theirs
    texts = tuple(turn.question.split("\n")) if turn.question else ()
    if turn.state != State.ANSWERED:
        return None, texts
    try:
        return vectors.read_answer(turn.response, turn.job.count), texts
    except (seals.Unreadable, vectors.NoVectors):
        return None, texts


def facts_of(turns: QuerySet[Turn]) -> list[dict[str, Any]]:
    """What is known about each request, for files that people take along: enough to judge its
    signature without us.
    """
    return [
        {
            "asked_at": turn.created_at.isoformat(),
            "chain_id": settings.CHAIN_ID,
            "serving_contract": turn.serving,
            "provider": turn.provider,
            "model": turn.model,
            "fee_neuron": str(turn.fee),
            "fee_kind": turn.fee_kind,
            "verdict": turn.verdict,
            "verdict_reason": turn.verdict_reason,
            "request_sha256": turn.request_sha256,
            "response_sha256": turn.response_sha256,
            "complete": turn.complete,
            "answer_id": turn.answer_id,
            "expected_signer": turn.expected_signer,
            "signer_acknowledged": turn.signer_acknowledged,
            "signature": turn.signature,
            "signature_fetched_at": turn.signature_at and turn.signature_at.isoformat(),
            "signer": turn.signer,
            "scheme": turn.scheme,
        }
        for turn in turns.order_by("pk")
    ]
