"""How far evidence that somebody brought may be believed: no further than it was seen here.

Of a provider's evidence this site asked the chain and chose the number itself. Of a file both are
the bringer's word, so nothing that rests on them is shown as verified (ux.md 18). What is stored,
and what programs read, stays the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping

from attestation.comparison import is_ours
from attestation.engine.verdicts import marked
from attestation.models import Endpoint, Verification

PARTIAL = "partial"
#: Rows that only hold what was brought against itself, by the question that they answer.
_THEIR_WORD = {"key": ("bind.onchain", "bind.ack"), "fresh": ("bind.nonce",)}
#: What a row of this kind was compared with.
ROWS = frozenset({"bind.tls"}.union(*_THEIR_WORD.values()))
_GOOD = ("pass", "warn")


def by_word(run: Verification) -> bool:
    """Whether chain and number are the word of whoever brought it: not of a report of ours."""
    return run.endpoint == Endpoint.UPLOAD and not is_ours(run.notes)


def overall(run: Verification) -> str:
    """The one word as it is shown: nobody's file is verified as a whole."""
    if by_word(run) and run.overall.removeprefix("dev-") == "pass":
        return marked(PARTIAL, run.overall.startswith("dev-"))
    return run.overall


def unasked(run: Verification, answers: Mapping[str, str]) -> frozenset[str]:
    """The questions whose good answer is the bringer's own (`answers`: `verdicts.told`)."""
    if not by_word(run):
        return frozenset()
    passed = {row["id"] for row in run.rows if row["verdict"] == "pass"}
    return frozenset(
        name
        for name, ids in _THEIR_WORD.items()
        if answers.get(name) in _GOOD and passed.intersection(ids)
    )
