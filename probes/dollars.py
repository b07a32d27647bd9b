"""What 0G costs in US dollars, by somebody else's word: read, judged and written out. Pure; whole
numbers and Decimal, no float.

A courtesy to readers (features.md B4, G18): no rule, statement or transaction depends on it.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

#: Neuron of 1 0G times millionths of a dollar: what `neuron * micro` is counted in, as an exponent.
_UNITS = 18 + 6
_MICRO = 10**6
_CENT = Decimal("0.01")
#: No line breaks inside an amount.
_SPACE = "\u00a0"
#: Dollars that are written out; more are read as a power of ten.
_WRITTEN = 10**12
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
#: A price outside of these is a mistake of the source, or another unit.
LEAST, MOST = Decimal("0.0001"), Decimal(100_000)
#: A clock may be so far ahead of ours.
AHEAD = dt.timedelta(minutes=1)
#: From then on its age is said; from then on it is not shown.
LATE, ENDS = dt.timedelta(hours=1), dt.timedelta(days=1)
SHAPE = JsonLimits(max_depth=3, max_bytes=16 << 10, max_marks=200)
#: A uint256 of neuron at the highest price has fewer digits: nothing is rounded on the way.
_EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)


def power(number: int, shift: int = 0) -> str:
    """`1.606 × 10⁴²`: four digits, cut, of a number of four at least, times ten to the `shift`.

    A stranger may ask any price that 256 bits hold, and one of sixty digits pushes the columns of
    everybody's list out of sight.
    """
    digits = str(number)
    places = str(len(digits) - 1 + shift).translate(_RAISED)
    return f"{digits[0]}.{digits[1:4]} × 10{places}"


@dataclass(frozen=True)
class Price:
    """1 0G in millionths of a US dollar, `at` a moment, by the word of the host `source`."""

    micro: int
    at: dt.datetime
    source: str

    @property
    def usd(self) -> str:
        """All digits, at least two of them after the point: `0.557195`."""
        whole, rest = divmod(self.micro, _MICRO)
        return f"{whole}.{f'{rest:06d}'.rstrip('0'):0<2}"

    @property
    def text(self) -> str:
        return f"${self.usd}"

    def late(self, now: dt.datetime) -> bool:
        return now - self.at > LATE

    def ended(self, now: dt.datetime) -> bool:
        return now - self.at > ENDS

    def of(self, neuron: int) -> str:
        """An amount in dollars: `≈ $0.42`, below a cent two significant digits, from a trillion on
        `≈ $1.606 × 10⁴²`; empty for nothing, as nothing is the same in every currency, and never
        `$0.00` for something."""
        if neuron <= 0:
            return ""
        value = Decimal(neuron * self.micro).scaleb(-_UNITS, _EXACT)
        if value < Decimal("0.000001"):
            return f"<{_SPACE}$0.000001"
        if value >= _WRITTEN:
            return f"≈{_SPACE}${power(int(value)).replace(' ', _SPACE)}"
        places = 2 if value >= _CENT else 1 - value.adjusted()
        rounded = value.quantize(Decimal(1).scaleb(-places), context=_EXACT)
        if rounded >= _CENT:  # a cent is written as one, also where it was rounded up to that
            rounded = rounded.quantize(_CENT, context=_EXACT)
        return f"≈{_SPACE}${rounded:,f}"


def read(text: bytes, source: str, now: dt.datetime) -> Price:
    """The answer of `source` (its host), in the form of CoinGecko's `/simple/price` with one coin:
    `{"zero-gravity": {"usd": 0.557195, "last_updated_at": 1777454139}}`.

    Raises BadAnswer, whose words hold nothing of what was sent.
    """
    strictjson.loads(text, SHAPE)  # its bounds, before the parser that keeps every digit
    try:
        found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, ArithmeticError):
        raise BadAnswer("the text is not JSON with numbers of a usual size") from None
    coins = list(found.values()) if isinstance(found, dict) else []
    if len(coins) != 1 or not isinstance(coins[0], dict):
        raise BadAnswer("the answer is not about one coin")
    return Price(_micro(coins[0].get("usd")), _moment(coins[0].get("last_updated_at"), now), source)


def _micro(value: Any) -> int:
    if not isinstance(value, Decimal) or not LEAST <= value <= MOST:
        raise BadAnswer(f"`usd` is no price between ${LEAST} and ${MOST:,}")
    return int((value * _MICRO).to_integral_value(ROUND_HALF_EVEN))


def _moment(value: Any, now: dt.datetime) -> dt.datetime:
    if not isinstance(value, Decimal):
        raise BadAnswer("the answer does not say since when: ask with include_last_updated_at=true")
    if value > Decimal(int((now + AHEAD).timestamp())):
        raise BadAnswer("the price is of a moment that is still to come")
    if value < Decimal(int((now - ENDS).timestamp())):
        raise BadAnswer("the price is more than a day old")
    return dt.datetime.fromtimestamp(int(value), dt.UTC)
