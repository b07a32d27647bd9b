"""How old the shown data is, in words (ux.md 1). Pure: where the follower stands is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chain.selectors import Freshness
from marketplace import formats

#: chain.selectors' states in the words of pages; any other means that nothing new comes.
WORDS = {"never": "none", "fresh": "ok", "late": "late"}


@dataclass(frozen=True)
class Shown:
    """`state`: `ok`, `late`, `stale`, `unreachable`, `none` (nothing indexed yet) or `unknown` (our
    own database cannot be read). Lags in blocks and seconds.

    Seconds count from the last agreement with the node's head, not from the age of a block: an
    idle chain is fresh.
    """

    state: str
    block: int | None = None
    final_block: int | None = None
    lag_blocks: int = 0
    lag_seconds: int | None = None
    halted: bool = False
    catching_up: bool = False

    @property
    def text(self) -> str:
        if self.state == "unknown":
            return _("the database cannot be read right now")
        if self.block is None:
            return _("not indexed yet")
        indexed = _("indexed to block %(number)s") % {"number": f"{self.block:,}"}
        behind = _("%(n)s behind") % {"n": f"{self.lag_blocks:,}"} if self.lag_blocks else ""
        age = ", ".join(part for part in (behind, self._ago) if part)
        return indexed + (f" ({age})" if age else "")

    @property
    def _ago(self) -> str:
        known = self.lag_seconds is not None
        return formats.ago(formats.duration(self.lag_seconds or 0)) if known else ""

    @property
    def as_of(self) -> str:
        """`as of block N, 3 min ago`, for lists that are not fresh."""
        if self.block is None:
            return _("nothing is indexed yet")
        as_of = _("as of block %(number)s") % {"number": f"{self.block:,}"}
        return ", ".join(part for part in (as_of, self._ago) if part)

    @property
    def is_stale(self) -> bool:
        return self.state in ("stale", "unreachable")


@dataclass(frozen=True)
class Banner:
    """The one global notice a page may carry; `tone` is `warn` or `bad`; `more`: where more is."""

    tone: str
    text: str
    more: str = ""


def judge(head: Freshness) -> Shown:
    """The follower's own record in the words of a reader; what it means is judged there."""
    state = "unreachable" if head.unreachable else WORDS.get(head.state, "stale")
    if head.indexed_block < 0:
        return Shown(state)
    return Shown(
        state=state,
        block=head.indexed_block,
        final_block=head.final_block if head.final_block >= 0 else None,
        lag_blocks=head.lag_blocks,
        lag_seconds=None if head.lag_seconds is None else int(head.lag_seconds),
        halted=head.halted,
        catching_up=head.catching_up,
    )


def banner(freshness: Shown) -> Banner | None:
    """At most one, the worst first: the chain unreachable, then the index behind. Without an age,
    which the footer says: that would grow while the banner stands on an open page."""
    if freshness.halted:
        tone, text = "bad", _("Indexing has stopped and waits for the operator.")
    elif freshness.state == "unreachable":
        tone, text = "bad", _("The chain cannot be reached.")
    elif freshness.state == "stale":
        tone, text = "warn", _("The index is not running.")
    elif freshness.catching_up:
        return Banner("warn", _("The index is catching up. Newer changes are still missing."))
    else:
        return None
    if freshness.block is None:
        return Banner(tone, f"{text} {_('Nothing is indexed yet.')}")
    said = _("Nothing here is newer than block %(number)s; new changes are missing.")
    return Banner(tone, f"{text} {said % {'number': f'{freshness.block:,}'}}")


def drift(values: int, block: int) -> Banner:
    """For those who can do something about it."""
    text = ngettext(
        "At block %(block)s, %(n)s of our values differs from the chain. See Status, then replay.",
        "At block %(block)s, %(n)s of our values differ from the chain. See Status, then replay.",
        values,
    )
    return Banner("bad", text % {"block": f"{block:,}", "n": f"{values:,}"})
