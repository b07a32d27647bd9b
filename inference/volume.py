"""How much of what one person asks, and of the answers, is stored in a day: at a provider of their
own whoever likes has as much as they like, for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from django.utils.translation import gettext as _

from accounts import limits
from accounts.errors import TooMany
from inference.errors import Busy
from net.cache import tried

#: Bytes, packed and sealed, in a day of UTC.
A_DAY = 512 << 20
_SECONDS = 24 * 3600


def asked(owner: int, *sealed: bytes | memoryview) -> None:
    """Count what is stored of a question. Raises Busy where the day's bytes are used up."""
    try:
        _count(owner, sealed)
    except TooMany:
        raise Busy(
            _("Your questions and answers of today fill %(most)s MB. Go on tomorrow (UTC).")
            % {"most": A_DAY >> 20}
        ) from None


def came(owner: int, sealed: Iterable[bytes]) -> None:
    """Count what was stored of an answer, which is there whatever it comes to."""

    def counted() -> None:
        with suppress(TooMany):  # the next question hears of it
            _count(owner, sealed)

    tried(counted, None)


def _count(owner: int, sealed: Iterable[bytes | memoryview]) -> None:
    uses = sum(map(len, sealed))
    limits.spend("chat-bytes", f"user {owner}", limit=A_DAY, seconds=_SECONDS, uses=uses)
