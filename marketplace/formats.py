"""How numbers, addresses, times and strangers' words are written (ux.md 2). Pure; integers in,
text out, no float.

Amounts are neuron (1 0G = 10^18 neuron). They are cut, never rounded up: nobody is shown more than
there is. The exact value always stands beside it (`exact`), so that a short form never hides a
neuron.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts import money
from net.words import kept_by_language
from probes.dollars import power
from probes.fold import percent
from protocol import fees

ONE = money.NEURON
MILLION = 10**6
_DECIMALS = 18

#: A billion 0G: from here on amounts are read as powers of ten.
MOST = 10**9 * ONE

MINUS = "−"  # U+2212, as wide as a plus
UNKNOWN = "–"


# --- amounts -------------------------------------------------------------------------------------


def exact(neuron: int) -> str:
    """All digits of an amount in 0G, without trailing zeros: `1.000000000000000001`."""
    whole, rest = divmod(abs(neuron), ONE)
    digits = f"{rest:0{_DECIMALS}d}".rstrip("0")
    return _sign(neuron) + f"{whole:,}" + (f".{digits}" if digits else "")


def amount(neuron: int) -> str:
    """An amount in 0G as people read it: from 1 on 4 decimals, below 4 significant digits, cut;
    `<0.000001` below, from a billion 0G on `1.606 × 10⁴²`."""
    size = abs(neuron)
    if size >= MOST:
        return _sign(neuron) + power(size, -_DECIMALS)
    return _sign(neuron) + ("<0.000001" if 0 < size < money.LEAST else exact(money.cut(size)))


def readable(number: int) -> str:
    """All digits with separators, or a power where nobody could read them."""
    return power(number) if number >= MOST else f"{number:,}"


def signed(neuron: int) -> str:
    """An amount with its sign, for changes: `+1.5`, `−0.2`, `0`."""
    return ("+" if neuron > 0 else "") + amount(neuron)


def _sign(neuron: int) -> str:
    return MINUS if neuron < 0 else ""


def percentage(part: int, whole: int) -> str:
    """`part` of `whole` in percent with 2 decimals, cut; `–` where there is no whole."""
    if whole <= 0:
        return UNKNOWN
    return f"{percent(part * 10_000 // whole)} %"


@dataclass(frozen=True)
class Price:
    """A price in the unit people compare by. `neuron` is the amount of that unit, `each` what the
    contract holds; `short`: the unit in tables, where it has a shorter form."""

    neuron: int
    unit: str
    label: str
    each: int
    each_unit: str
    short: str = ""

    @property
    def short_unit(self) -> str:
        return self.short or self.unit

    @property
    def each_read(self) -> str:
        return readable(self.each)

    @property
    def each_said(self) -> str:
        return self._each(self.each_read)

    @property
    def exact(self) -> str:
        return f"{self._each(f'{self.each:,}')} = {exact(self.neuron)} 0G / {self.unit}"

    def _each(self, number: str) -> str:
        return _("%(n)s neuron per %(unit)s") % {"n": number, "unit": self.each_unit}


IMAGES, SPEECH = fees.IMAGES, fees.SPEECH


def prices(service_type: str, input_price: int, output_price: int) -> tuple[Price, ...]:
    """An inference service's prices by what its type is billed for (provider-protocol.md 5.1).

    Tokens per million, in then out, of embeddings in alone; images per image (the output price);
    speech per minute of audio. Which of the two prices is a second's depends on the broker's
    version, so the dearer one is shown: nobody pays more than he read.
    """
    # What is kept must not be strangers' texts of any length.
    known = service_type in (*IMAGES, SPEECH, fees.EMBEDDING)
    return _prices(service_type if known else "", input_price, output_price)


@kept_by_language
def _prices(service_type: str, input_price: int, output_price: int) -> tuple[Price, ...]:
    if service_type in IMAGES:
        return (Price(output_price, _("image"), _("Per image"), output_price, _("image")),)
    if service_type == SPEECH:
        second = max(input_price, output_price)
        return (Price(second * 60, "min", _("Per minute"), second, _("second")),)
    given = token_price(_("Input"), input_price)
    if service_type == fees.EMBEDDING:
        return (given,)
    return given, token_price(_("Output"), output_price)


@kept_by_language
def training_price(price_per_token: int) -> Price:
    """A fine-tuning price per million tokens of one epoch."""
    return token_price(_("Training"), price_per_token)


def token_price(label: str, each: int, million: int | None = None) -> Price:
    """A price per million tokens; `million` where it is not a million times the price of one."""
    whole = each * MILLION if million is None else million
    return Price(whole, _("1M tokens"), label, each, _("token"), "1M")


# --- counts ---------------------------------------------------------------------------------------


def count(number: int) -> str:
    """`1,234` up to 10 000, then `12.4k`, `3.1M`, cut."""
    if number < 10_000:
        return f"{number:,}"
    divisor, suffix = (1_000, "k") if number < MILLION else (MILLION, "M")
    tenths = number * 10 // divisor
    return f"{tenths // 10:,}.{tenths % 10}{suffix}"


def tenths(number: int) -> str:
    """`42.1` of 421, as programs read it."""
    return f"{number // 10}.{number % 10}"


# --- time ----------------------------------------------------------------------------------------


def far(then: dt.datetime, now: dt.datetime) -> bool:
    """Whether `relative` says the day instead of how long ago."""
    return abs(int((now - then).total_seconds())) > 7 * 86_400


def relative(then: dt.datetime, now: dt.datetime) -> str:
    """`12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`; after 7 days the UTC date. The future reads
    `in 3 min`."""
    seconds = int((now - then).total_seconds())
    size = abs(seconds)
    if far(then, now):
        return date(then.astimezone(dt.UTC).date())
    if size < 2:
        return _("now")
    text = duration(size)
    return ago(text) if seconds > 0 else _("in %(time)s") % {"time": text}


def ago(text: str) -> str:
    """How long ago: `text` is a duration."""
    return _("%(time)s ago") % {"time": text}


@kept_by_language
def date(day: dt.date) -> str:
    """`1 May 2026`, in German `1. Mai 2026`."""
    return date_format(day)


def duration(seconds: int) -> str:
    """The largest unit alone: `45 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def countdown(seconds: int) -> str:
    """Time left in two units, `2 h 14 min`; never negative."""
    left = max(0, seconds)
    parts = [
        (left // 86_400, "d"),
        (left // 3_600 % 24, "h"),
        (left // 60 % 60, "min"),
        (left % 60, "s"),
    ]
    for index, (value, unit) in enumerate(parts):
        if value:
            return " ".join(f"{v} {unit}" for v, unit in parts[index : index + 2] if v)
    return "0 s"


def of_unix(seconds: int) -> dt.datetime | None:
    """The moment of a contract's timestamp; None for 0 and for what no calendar holds."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def absolute(moment: dt.datetime) -> str:
    """ISO 8601 in UTC to the second: `2026-05-01T12:00:00Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- addresses and hashes ------------------------------------------------------------------------


def short_hash(value: str) -> str:
    """`0x12345678…abcdef`: 10 and 6 characters of a hash."""
    return f"{value[:10]}…{value[-6:]}" if len(value) > 18 else value


@dataclass(frozen=True)
class Identicon:
    """A decorative picture of an address: five rows of five, "#" to fill, and which of six token
    colours."""

    rows: tuple[str, ...]
    hue: int


def identicon(address: str) -> Identicon:
    """Mirrored rows from a hash of the lower-case address, so that spelling does not change the
    picture."""
    digest = hashlib.sha256(address.lower().encode()).digest()
    rows = tuple(
        "".join(
            "#" if digest[y * 3 + min(x, 4 - x)] & 1 or (x == 2 and y == 2) else " "
            for x in range(5)
        )
        for y in range(5)
    )
    return Identicon(rows, digest[31] % 6 + 1)


# --- strangers' words ----------------------------------------------------------------------------

# Controls, and the invisible characters that reorder or hide text. Joiners stay: emoji and scripts
# need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"
    "\u2060-\u2069\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_COMBINING = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{2})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def plain(text: str) -> str:
    """A stranger's text with controls and reordering characters made visible (U+FFFD) and stacked
    accents cut."""
    return _COMBINING.sub(r"\1", _UNSAFE.sub("\ufffd", text))


def within(text: str) -> str:
    """A label in the middle of a sentence: in lower case where the language writes it so."""
    return text.lower() if get_language() == "en" else text


def clip(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis where something was cut."""
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def pretty_json(text: str) -> str | None:
    """A provider's JSON indented for reading; None where it is not an object. Keys keep the
    provider's order."""
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else None


def json_object(text: str) -> dict[str, Any]:
    """The object of a provider's JSON, `{}` where there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
