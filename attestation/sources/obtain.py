"""The cache first, then the service. What fails is written down and noted, never raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from attestation.sources.fetch import Fetcher, Request
from attestation.sources.records import Answer, Cache, Note, Reference

DAY = 86_400
_MOST_AHEAD = 300
#: Seconds. A service may issue its answer while we ask, or by a clock a little ahead of ours.
_YOUNGEST = 60


class Unusable(ValueError):
    """An answer that came and cannot be judged by; the text says why."""


#: From when until when an answer may be judged by, in unix seconds. Raises Unusable.
Window = Callable[[Answer], tuple[int, int]]


@dataclass
class Retriever:
    """One collection under way: who is asked, where answers are kept, what has been noted.

    `asked_at` is the moment that it is made for. `now`, at which windows are judged, moves on from
    there to the latest issue of a document, by a minute at most.
    """

    fetcher: Fetcher
    cache: Cache
    asked_at: int
    notes: list[Note] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    fetched: list[Answer] = field(default_factory=list)
    now: int = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.asked_at

    def issued(self, moment: int) -> None:
        """A document was issued at `moment`: judge no earlier, if that is a moment ago."""
        if moment <= self.asked_at + _YOUNGEST:
            self.now = max(self.now, moment)

    def note(self, source: str, key: str, text: str) -> None:
        self.notes.append(Note(source=source, key=key, text=text))

    def use(self, *answers: Answer) -> None:
        """The verdict will rest on these."""
        self.references.extend(answer.reference() for answer in answers)

    async def obtain(
        self, request: Request, window: Window, *, refresh: int = DAY, again: bool = False
    ) -> Answer | None:
        """A usable answer, or None with a note.

        One kept for less than `refresh` seconds is not asked for again, unless `again`; an older
        one is still good where the service fails, until its own window ends.
        """
        kept = await self.cache.find(request.source, request.key, self.now)
        if kept and not kept.usable(self.asked_at + _YOUNGEST):
            kept = None  # it may end before the verdict
        # A run next to ours may have fetched it a moment later; further ahead, a clock was wrong.
        if kept and not again and -_MOST_AHEAD < self.now - kept.fetched_at < refresh:
            return kept
        fresh = self._judged(await self.fetcher.ask(request), window)
        await self.cache.keep(fresh)
        self.fetched.append(fresh)
        if fresh.usable(self.now) and fresh.usable(max(self.now, self.asked_at + _YOUNGEST)):
            return fresh
        problem = fresh.error or "valid at another time only"
        if kept is None:
            self.note(request.source, request.key, problem)
            return None
        hours = max(0, self.now - kept.fetched_at) // 3600
        text = f"{problem}; used the one of {hours} h ago, which is still valid"
        self.note(request.source, request.key, text)
        return kept

    def _judged(self, answer: Answer, window: Window) -> Answer:
        if answer.error:
            return answer
        try:
            start, end = window(answer)
        except Unusable as error:
            return replace(answer, body=None, error=str(error))
        self.issued(start)
        return replace(answer, valid_from=start, valid_until=end)
