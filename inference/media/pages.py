"""One frozen dataclass per page or fragment of pictures, speech and embeddings."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.pages_parts import Pager
from inference.media import transcripts, vectors, words
from inference.media.models import File
from inference.media.transcripts import Heard, Segment
from inference.media.vectors import Embedded
from inference.models import Chat, State, Turn, Verdict
from inference.pages import ServiceOption, SidePage
from inference.pages_turn import TurnView
from probes import exchange

_MIB = 1 << 20
_STAGES: dict[str, str] = {State.ANSWERED: "done", State.OPEN: "running"}
#: Seconds from the end of a piece in which the next one has begun, where it can.
_BETWEEN = 5


@dataclass(frozen=True)
class FileView:
    """One file of a request."""

    id: UUID
    path: str
    width: int
    height: int
    size: int
    sha256: str
    seed: str
    media_type: str

    @classmethod
    def of(cls, file: File) -> Self:
        path = reverse("inference:file", args=[file.pk])
        facts = file.width, file.height, file.size, file.sha256, file.seed, file.media_type
        return cls(file.pk, path, *facts)


@dataclass(frozen=True)
class Asking:
    """One request as it stands. `stage`: queued, running, done or failed; `seconds` since it began
    to run (or was sent), `over` since it ended.
    """

    view: TurnView
    stage: str
    seconds: int
    quantity: str
    start: str = ""
    over: float = 0.0

    @property
    def open(self) -> bool:
        return self.stage in ("queued", "running")

    @property
    def pending(self) -> bool:
        return self.open or self.view.watched

    @classmethod
    def of(cls, turn: Turn, now: dt.datetime) -> Self:
        view = TurnView.of(turn, laid=False)
        ending = words.failure(turn.failure) if turn.state == State.FAILED else None
        view = replace(
            view,
            ending=ending,
            can_recheck=False,
            verdict_words=words.verdict(turn.verdict_reason),
        )
        job = turn.job
        begun = job.working_since or turn.created_at
        stage = _STAGES.get(turn.state, "failed")
        if stage == "running" and job.remote and job.working_since is None:
            stage = "queued"
        piece = job.piece
        return cls(
            view=view,
            stage=stage,
            seconds=max(0, int((now - begun).total_seconds())),
            quantity=turn.quantity,
            start=transcripts.clock(piece.start_ms) if piece else "",
            over=(now - turn.ended_at).total_seconds() if turn.ended_at else 0.0,
        )


@dataclass(frozen=True)
class Work:
    """A request for pictures: what was wanted, what came. `source` is the picture that was edited,
    `can_recheck` whether the provider may by now have a signature.
    """

    id: UUID
    prompt: str
    kept: bool
    created_at: dt.datetime
    asking: Asking
    pictures: tuple[FileView, ...]
    source: FileView | None
    mask: FileView | None
    wish: dict[str, Any]
    count: int
    total_ms: int
    can_recheck: bool
    lost: bool
    others: tuple[Elsewhere, ...] = ()


@dataclass(frozen=True)
class Elsewhere:
    """Another service that could be asked instead, and what the same would cost there at most;
    neuron.
    """

    provider: str
    model: str
    most: int
    verdict: str


@dataclass(frozen=True)
class Quota:
    """Bytes used of what one person may keep."""

    used: int
    most: int

    @property
    def text(self) -> str:
        values = {"used": f"{self.used / _MIB:.1f}", "most": self.most // _MIB}
        if 0 < self.used < _MIB // 10:
            return _("less than 0.1 of %(most)s MB used") % values
        return _("%(used)s of %(most)s MB used") % values


@dataclass(frozen=True)
class Form:
    """What both forms hold: whom one may ask, what stands in the way, and what was wrong before.
    `file_again`: a file came with it, which a form that is filled anew cannot hold.
    """

    side: SidePage
    choices: tuple[ServiceOption, ...]
    key: UUID
    wish: dict[str, Any]
    quota: Quota
    error: str = ""
    error_href: str = ""
    new_signer: str = ""
    file_again: bool = False
    undo: str = ""

    @property
    def price(self) -> int:
        """Neuron for the pictures that the form asks for now."""
        listing = self.side.service
        return listing.output_price * int(self.wish.get("count") or 1) if listing else 0

    @property
    def in_dollars(self) -> str:
        """The price behind it; "" where none is shown."""
        return exchange.said(self.price)

    @property
    def dollars(self) -> int:
        """Millionths of a US dollar for 1 0G, for scripts; 0 where none is shown."""
        rate = exchange.shown()
        return rate.micro if rate is not None else 0


@dataclass(frozen=True)
class ImagesPage:
    """The form and the gallery. `source` is one of the person's pictures, to be edited."""

    form: Form
    works: tuple[Work, ...]
    pager: Pager | None
    source: FileView | None
    sizes: tuple[str, ...]
    formats: tuple[str, ...]
    counts: tuple[int, ...]
    max_prompt: int


@dataclass(frozen=True)
class WorkPage:
    """One request for pictures with everything kept about it."""

    work: Work


@dataclass(frozen=True)
class Line:
    """A transcript in the list."""

    id: UUID
    title: str
    kept: bool
    created_at: dt.datetime
    length: str
    open: bool
    pieces: int
    done: int

    @classmethod
    def of(cls, chat: Chat, length_ms: int, pieces: int, done: int, open_: bool) -> Self:
        length = transcripts.clock(length_ms)
        return cls(chat.pk, chat.title, chat.kept, chat.created_at, length, open_, pieces, done)


@dataclass(frozen=True)
class AudioPage:
    """The form and the list of transcripts."""

    form: Form
    lines: tuple[Line, ...]
    pager: Pager | None
    languages: tuple[tuple[str, str], ...]
    max_seconds: int


@dataclass(frozen=True)
class Spoken:
    """A segment as a button: `at` seconds into the recording. `bits` are its text in pieces, with
    the time of those that are timed words ("" else).
    """

    at: str
    clock: str
    bits: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, said: Segment) -> Self:
        bits = tuple(("" if ms is None else _seconds(ms), text) for ms, text in said.bits)
        return cls(_seconds(said.start_ms), transcripts.clock(said.start_ms), bits)


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"


@dataclass(frozen=True)
class TranscriptPage:
    """One recording: what was heard so far, piece by piece, and what each piece cost."""

    id: UUID
    title: str
    kept: bool
    created_at: dt.datetime
    heard: Heard
    segments: tuple[Spoken, ...]
    pieces: tuple[Asking, ...]
    count: int
    done: int
    length: str
    fee: int
    fee_kind: str
    wish: dict[str, Any]
    provider: str
    recheck: int
    error: str = ""
    new_signer: str = ""
    others: tuple[Elsewhere, ...] = ()

    @property
    def open(self) -> bool:
        """Whether a piece is being written down, or just was and the next one begins."""
        last = self.pieces[-1] if self.pieces else None
        begins = last and last.stage == "done" and self.done < self.count and last.over < _BETWEEN
        return bool(begins) or any(x.open for x in self.pieces)

    @property
    def watched(self) -> bool:
        return self.open or any(x.pending for x in self.pieces)

    @property
    def can_go_on(self) -> bool:
        return not self.open and self.done < self.count

    @property
    def verdict(self) -> str:
        """The worst verdict of its pieces: one lie is enough."""
        order = (
            Verdict.FAILED, Verdict.ALTERED, Verdict.PENDING, Verdict.NOT_COMPARABLE,
            Verdict.UNAVAILABLE, Verdict.REWRITTEN, Verdict.VERIFIED,
        )  # fmt: skip
        found = {x.view.verdict for x in self.pieces if x.stage == "done"}
        return next((str(v.value) for v in order if v in found), "")


@dataclass(frozen=True)
class Texts:
    """Some embedded texts in the list. `stage` as in Asking."""

    id: UUID
    title: str
    kept: bool
    created_at: dt.datetime
    count: int
    stage: str

    @classmethod
    def of(cls, chat: Chat, turn: Turn) -> Self:
        stage = _STAGES.get(turn.state, "failed")
        return cls(chat.pk, chat.title, chat.kept, chat.created_at, turn.job.count, stage)


@dataclass(frozen=True)
class EmbeddingsPage:
    """The form and the list of what was embedded."""

    form: Form
    lines: tuple[Texts, ...]
    pager: Pager | None
    max_texts: int
    max_chars: int


@dataclass(frozen=True)
class Cosine:
    """How alike two texts are. `level` from 0 (nothing in common, or less) to 4, "own" for a text
    and itself, "none" where one has no direction; `closest`: no other is more like the row's.
    """

    text: str
    level: str
    closest: bool


@dataclass(frozen=True)
class Likeness:
    """A row of the matrix: text `number` beside all."""

    number: int
    text: str
    cells: tuple[Cosine, ...]
    closest: int | None


@dataclass(frozen=True)
class EmbeddedPage:
    """`count` texts and their vectors; `texts` empty where their key is gone, `found` None where
    there are no vectors, or none that can be read. `size`: of the request in bytes.
    """

    id: UUID
    kept: bool
    created_at: dt.datetime
    asking: Asking
    count: int
    texts: tuple[str, ...]
    found: Embedded | None
    wish: dict[str, Any]
    size: int
    total_ms: int
    can_recheck: bool
    lost: bool
    error: str = ""
    others: tuple[Elsewhere, ...] = ()

    @property
    def watched(self) -> bool:
        return self.asking.pending

    @property
    def overcounted(self) -> bool:
        """Whether the provider counts more tokens than the request has bytes."""
        tokens = self.found.tokens if self.found else None
        size = max(self.size, sum(map(vectors.weight, self.texts)))
        return tokens is not None and tokens > vectors.most_tokens(size, len(self.texts))

    @property
    def rows(self) -> tuple[Likeness, ...]:
        """The matrix. A screen needs two digits; the files have them all."""
        if self.found is None:
            return ()
        made = []
        matrix = vectors.cosines(self.found.vectors)
        for i, row in enumerate(matrix):
            near = vectors.closest(row, i)
            cells = tuple(_cosine(value, i == j, near == j) for j, value in enumerate(row))
            text = self.texts[i] if i < len(self.texts) else ""
            made.append(Likeness(i + 1, text, cells, None if near is None else near + 1))
        return tuple(made)


def _cosine(value: float | None, own: bool, closest: bool) -> Cosine:
    if value is None:
        return Cosine("–", "none", False)
    # Minus zero is zero.
    text = f"{round(value, 2) + 0:.2f}".replace("-", "−")
    return Cosine(text, "own" if own else str(max(0, min(4, int(value * 5)))), closest)
