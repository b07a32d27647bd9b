"""Embeddings: which texts are sent, what a provider answers, and how alike its vectors are. Pure.

The numbers of a vector are a stranger's floats and never money. An answer is taken only if it holds
one vector for each text, all of the same length and of finite numbers.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Literal, Self

import orjson

from accounts import csv_files
from inference import costs
from inference.errors import BadPrompt
from inference.options import ticked
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from net.marks import N_
from protocol import fees

PATH = "/embeddings"
#: More would be a matrix that nobody reads, and an answer of many megabytes.
MAX_TEXTS = 20
MAX_TEXT_CHARS = 2000
MAX_DIMENSION = 8192
MAX_ANSWER_BYTES = 6 << 20
#: Larger ones (and no model's are) would leave the range of doubles when they are multiplied.
MAX_NUMBER = 1e100
#: Some tokenizers add a few that begin and end a text.
EXTRA_TOKENS = 4
#: Tokenizers read a text in one of these forms of Unicode, or as it is.
_READ_AS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")
#: What these are put together from is longer than they are.
_APART: tuple[Literal["NFD", "NFKD"], ...] = ("NFD", "NFKD")
#: What stands for a request before one is written: a few sentences.
USUAL_BYTES, USUAL_TEXTS = 1000, 5
_NEWLINES = re.compile(r"[\r\n]+")
FORMS = {"csv": "text/csv; charset=utf-8; header=present", "json": "application/json"}
_SHAPE = JsonLimits(
    max_depth=8, max_bytes=MAX_ANSWER_BYTES, max_marks=MAX_TEXTS * (MAX_DIMENSION + 20)
)


class NoVectors(ValueError):
    """The answer does not hold the vectors; the text says what it holds instead."""


@dataclass(frozen=True)
class Wish:
    """What is wanted: each text becomes a vector."""

    texts: tuple[str, ...]
    verified: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """A checked wish of a form's or a stored one's fields. Raises BadPrompt with the rule."""
        said = given.get("texts") or ""
        # As embeddings.js counts them: other separators of lines (a form feed, say) stay in a text.
        parted = _NEWLINES.split(said) if isinstance(said, str) else [str(line) for line in said]
        lines = [line for line in parted if line.strip()]
        if not lines:
            raise BadPrompt(N_("Write at least one text; each line is one."))
        if len(lines) > MAX_TEXTS:
            raise BadPrompt(
                N_("These are %(count)s texts; up to %(most)s are sent at once."),
                count=f"{len(lines):,}",
                most=MAX_TEXTS,
            )
        texts = tuple(map(_clean, lines))
        for number, text in enumerate(texts, 1):
            if len(text) > MAX_TEXT_CHARS:
                raise BadPrompt(
                    N_("Text %(number)s is longer than %(most)s characters."),
                    number=number,
                    most=f"{MAX_TEXT_CHARS:,}",
                )
        return cls(texts, ticked(given.get("verified")))

    def stored(self) -> dict[str, Any]:
        return {"texts": list(self.texts), "verified": self.verified}

    @property
    def size(self) -> int:
        """Bytes of the texts, as they cost."""
        return sum(map(weight, self.texts))

    def body(self, model: str) -> bytes:
        """The request."""
        return orjson.dumps({"model": model, "input": self.texts, "encoding_format": "float"})


def _clean(line: str) -> str:
    """Without what could not be stored: NUL, and half a character, which a form may hold."""
    return line.strip().replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def most(tariff: fees.Tariff, size: int, texts: int) -> int:
    """Neuron at most for `texts` texts of so many bytes together."""
    return costs.most(tariff, most_tokens(size, texts), 0)


def weight(text: str) -> int:
    """Bytes of a text in the longest form in which a tokenizer reads it: some know every byte as a
    token and nothing more, so that no text is more tokens. (`embeddings.js` counts the same.)
    """
    forms = () if text.isascii() else (unicodedata.normalize(form, text) for form in _READ_AS)
    return max(len(form.encode("utf-8", "replace")) for form in (text, *forms))


def most_tokens(size: int, texts: int) -> int:
    return size + EXTRA_TOKENS * texts


def beyond_bytes(given: object) -> int:
    """The tokens that the `input` of a request may be beyond the bytes of its JSON: one text,
    several, or as many lists of tokens (which take two bytes each at least).
    """
    texts, others, left = [], 0, [given]
    while left:
        one = left.pop()
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, list):
            parts = [x for x in one if isinstance(x, str | list)]
            left += parts
            others += len(parts) < len(one)
        else:
            others += 1
    return EXTRA_TOKENS * (len(texts) + others) + _growth("".join(texts))


def _growth(text: str) -> int:
    """Bytes that a text is longer, at most, in any form of Unicode: each character for itself, as
    the whole of a long text may take minutes, which a stranger would have us spend.
    """
    if text.isascii():
        return 0
    grown = 0
    for character, times in Counter(text).items():
        if unicodedata.is_normalized("NFKD", character):
            continue  # nearly all: of a million different ones each look costs
        written = len(character.encode("utf-8", "replace"))
        apart = (unicodedata.normalize(form, character) for form in _APART)
        longest = max(len(form.encode("utf-8", "replace")) for form in apart)
        grown += times * max(0, longest - written)
    return grown


@dataclass(frozen=True)
class Embedded:
    """Vectors in the order of their texts; `tokens` None where the provider counted none."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int | None = None

    @property
    def dimension(self) -> int:
        return len(self.vectors[0]) if self.vectors else 0


def read_answer(body: bytes, count: int) -> Embedded:
    """The vectors of `count` texts. Raises NoVectors."""
    try:
        document = strictjson.loads(body, _SHAPE)
    except BadAnswer as error:
        raise NoVectors(str(error)) from None
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise NoVectors("the answer holds no list of vectors")
    if len(rows) != count:
        raise NoVectors(f"{len(rows):,} vectors for {count} texts")
    placed: dict[int, tuple[float, ...]] = {}
    for place, row in enumerate(rows):
        at = row.get("index", place) if isinstance(row, dict) else None
        if type(at) is not int or not 0 <= at < count or at in placed:
            raise NoVectors("vectors that are not numbered as the texts are")
        placed[at] = _numbers(row.get("embedding"), at + 1)
    vectors = tuple(placed[at] for at in range(count))
    if len({len(vector) for vector in vectors}) > 1:
        raise NoVectors("vectors of different lengths")
    usage = document.get("usage")
    counted = fees.count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    return Embedded(vectors, counted)


def _numbers(given: object, number: int) -> tuple[float, ...]:
    if not isinstance(given, list) or not given:
        raise NoVectors(f"vector {number} is no list of numbers")
    if len(given) > MAX_DIMENSION:
        raise NoVectors(f"vector {number} has more than {MAX_DIMENSION:,} numbers")
    # Not isinstance: true and false would count as numbers.
    if not all(type(value) in (int, float) and abs(value) <= MAX_NUMBER for value in given):
        raise NoVectors(f"vector {number} holds something else than numbers")
    return tuple(float(value) for value in given)


def cosines(vectors: Sequence[Sequence[float]]) -> tuple[tuple[float | None, ...], ...]:
    """How alike each two are: 1 the same direction, 0 nothing in common, -1 opposite. None for a
    vector of zeros, which has no direction.
    """
    units = [_unit(vector) for vector in vectors]
    rows: list[list[float | None]] = [[None] * len(units) for _ in units]
    for i, one in enumerate(units):
        for j in range(i + 1):
            other = units[j]
            if one is not None and other is not None:
                found = min(1.0, max(-1.0, sum(map(mul, one, other))))
                rows[i][j] = rows[j][i] = 1.0 if i == j else found
    return tuple(tuple(row) for row in rows)


def _unit(vector: Sequence[float]) -> tuple[float, ...] | None:
    # By the largest first: squares of tiny numbers would all be zero.
    largest = max(map(abs, vector))
    if not largest:
        return None
    scaled = [value / largest for value in vector]
    length = math.sqrt(math.fsum(value * value for value in scaled))
    return tuple(value / length for value in scaled)


def closest(row: Sequence[float | None], own: int) -> int | None:
    """The place of the text that is most like the one at `own`."""
    others = [(value, -at) for at, value in enumerate(row) if at != own and value is not None]
    return -max(others)[1] if others else None


def render(texts: Sequence[str], found: Embedded, form: str, facts: Mapping[str, Any]) -> bytes:
    """The vectors as one of FORMS; `facts` go along in the JSON."""
    if form == "json":
        rows = [
            {"text": text, "embedding": vector}
            for text, vector in zip(texts, found.vectors, strict=True)
        ]
        document = {"dimension": found.dimension, "vectors": rows, **facts}
        return orjson.dumps(document)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["text", *range(1, found.dimension + 1)])
    for text, vector in zip(texts, found.vectors, strict=True):
        # Only texts can be formulas: a negative number must stay one.
        writer.writerow([csv_files.cell(text), *map(repr, vector)])
    return out.getvalue().encode("utf-8", "replace")
