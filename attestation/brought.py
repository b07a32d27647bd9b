"""How far evidence that somebody brought may be believed: no further than it was seen here.

Of a provider's evidence this site asked the chain and chose the number itself. Of a file both are
the bringer's word, so nothing that rests on them is shown as verified (ux.md 18), with warnings or
without. What is stored, and what programs read, stays the engine's.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from attestation.comparison import is_ours
from attestation.engine.verdicts import Question, marked
from attestation.models import Endpoint, Verification
from attestation.selectors import EXPIRED, EXPIRED_AFTER

PARTIAL = "partial"
#: What the note on NVIDIA's keys of a bundle is about.
KEYS = "jwks.json"
#: What nobody here asked about a file: the chain, and for evidence made now.
_UNASKED: tuple[Question, ...] = ("key", "fresh")
#: Rows that only hold what was brought against what came with it.
_THEIR_WORD = frozenset(
    {
        *("bind.onchain", "bind.ack", "bind.nonce", "bind.challenge", "bind.tls"),
        *("dstack.declared_image", "ccel.declared_image"),
    }
)
_GPU_NONCE = re.compile(r"gpu\d+\.nonce")
_GOOD = ("pass", "warn")


def by_word(run: Verification) -> bool:
    """Whether chain and number are the word of whoever brought it: not of a report of ours."""
    return run.endpoint == Endpoint.UPLOAD and not is_ours(run.notes)


def overall(run: Verification) -> str:
    """The one word as it is shown: nobody's file is verified as a whole."""
    if by_word(run) and run.overall.removeprefix("dev-") in _GOOD:
        return marked(PARTIAL, run.overall.startswith("dev-"))
    return run.overall


def judged_at(run: Verification) -> dt.datetime:
    """The moment that a verdict is of: of a file the one it was judged at, if that is past."""
    if run.endpoint != Endpoint.UPLOAD or run.now_unix >= run.finished_at.timestamp():
        return run.finished_at
    return dt.datetime.fromtimestamp(run.now_unix, dt.UTC)


def expired(run: Verification, now: dt.datetime) -> bool:
    """Whether it counts no more: a provider's report after a day, whenever its bundle is brought.

    Of other files nothing is said that could end.
    """
    return bool(run.overall) and not by_word(run) and now - judged_at(run) >= EXPIRED_AFTER


def shown(run: Verification, now: dt.datetime) -> str:
    """The one word at `now`, "" where there was no verdict."""
    return EXPIRED if expired(run, now) else overall(run)


def unasked(run: Verification, answers: Mapping[str, str]) -> frozenset[Question]:
    """The questions whose good answer is the bringer's own (`answers`: `verdicts.told`)."""
    if not by_word(run):
        return frozenset()
    return frozenset(name for name in _UNASKED if answers.get(name) in _GOOD)


def says(run: Verification, id: str) -> bool:
    """Whether what the row of this id was compared with is the bringer's word."""
    if not by_word(run):
        return False
    if id.startswith("nras."):
        return KEYS in noted(run)
    alone = run.evidence_kind != "report"  # no quote says which number a GPU has to have
    return id in _THEIR_WORD or (alone and _GPU_NONCE.fullmatch(id) is not None)


def noted(run: Verification) -> set[str]:
    """What the notes of a run are about."""
    return {note.get("key", "") for note in run.notes if isinstance(note, dict)}
