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
#: Counted for what else is kept of an answer: its provider's headers and signature, which may be as
#: long as `inference.relay` and `inference.signatures` let them.
BESIDE = 32_000
_NAME, _SECONDS = "chat-bytes", 24 * 3600


def asked(owner: int, *beside: limits.Use) -> None:
    """Count what is `beside`, in the same message to Redis. Raises Busy where the day's bytes are
    used up, TooMany for what is beside.
    """
    try:
        limits.spend_each(*beside, _use(owner, 0))
    except TooMany as error:
        if error.allowance[0] != _NAME:
            raise
        raise Busy(
            _("Your questions and answers of today fill %(most)s MB. Go on tomorrow (UTC).")
            % {"most": A_DAY >> 20}
        ) from None


def came(owner: int, sealed: Iterable[bytes], asked: int = 0) -> None:
    """Count what was stored of an answer, which is there whatever it comes to, and the bytes of
    what was `asked`: before, whoever asks would wait for it.
    """
    size = asked + sum(map(len, sealed)) + BESIDE

    def counted() -> None:
        with suppress(TooMany):  # the next question hears of it
            limits.spend_each(_use(owner, size))

    tried(counted, None)


def _use(owner: int, size: int) -> limits.Use:
    return limits.Use(_NAME, f"user {owner}", A_DAY, _SECONDS, size)
