"""Texts as vectors by a program, behind the API that real models have: texts that share words and
pieces of words point the same way. It knows nothing of meaning, and every answer says so.
"""

from __future__ import annotations

import asyncio
import base64
import math
import struct
import unicodedata
import zlib
from collections import Counter
from typing import Any

from provider.answerer.compose import tokens
from provider.errors import Refused
from provider.http import Answer, Request
from provider.strict import strict_object

HASHER = "hashed-ngrams"
ABOUT = "a program of this project: counts of words and character n-grams, no AI model"
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_TEXTS = 2048
MAX_CHARS = 200_000  # of all texts together
DIMENSIONS = range(16, 1025)
DEFAULT_DIMENSIONS = 256
#: Lengths of the pieces of words that are counted.
PIECES = (3, 4, 5)
DIGITS = 6


class Vectors:
    """Embeds texts, one request at a time: it keeps a processor busy."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def embeddings(self, request: Request, reply: Answer) -> None:
        """`POST /v1/embeddings`. Raises Refused."""
        document = strict_object(await request.body(MAX_BODY_BYTES, "the request is too large"))
        async with self._turn:
            answer = await asyncio.to_thread(_answer, document)
        await reply.json(200, answer)


def _answer(document: dict[str, Any]) -> dict[str, Any]:
    texts = _texts(document.get("input"))
    size = document.get("dimensions")
    size = DEFAULT_DIMENSIONS if size is None else size
    if type(size) is not int or size not in DIMENSIONS:
        span = f"{DIMENSIONS.start} to {DIMENSIONS.stop - 1}"
        raise Refused(400, f"dimensions must be a whole number from {span}")
    form = document.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise Refused(400, "encoding_format must be float or base64")
    counted = sum(len(tokens(text)) for text in texts)
    name = document.get("model")
    rows = []
    for number, text in enumerate(texts):
        found = vector(text, size)
        packed = base64.b64encode(struct.pack(f"<{size}f", *found)).decode()
        given = packed if form == "base64" else found
        rows.append({"object": "embedding", "index": number, "embedding": given})
    return {
        "object": "list",
        "data": rows,
        "model": name if isinstance(name, str) and name else HASHER,
        "usage": {"prompt_tokens": counted, "total_tokens": counted},
        "about": ABOUT,
    }


def _texts(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "input must be a text or a list of texts; tokens are not read here")
    if not 0 < len(texts) <= MAX_TEXTS or sum(map(len, texts)) > MAX_CHARS:
        raise Refused(400, f"input takes 1 to {MAX_TEXTS} texts, {MAX_CHARS} characters in all")
    if not all(text.strip() for text in texts):
        raise Refused(400, "a text must hold more than spaces")
    return texts


def vector(text: str, size: int = DEFAULT_DIMENSIONS) -> list[float]:
    """The direction of `text`, of length 1: the same on every machine, for ever."""
    found = [0.0] * size
    for feature, count in _features(text).items():
        hashed = zlib.crc32(feature.encode())
        # One bit says the sign, so that features that meet in one place cancel out on average.
        sign = 1 if hashed & 1 else -1
        found[(hashed >> 1) % size] += sign * math.sqrt(count)
    length = math.sqrt(math.fsum(value * value for value in found))
    if not length:  # every feature met its opposite
        return [1.0] + [0.0] * (size - 1)
    return [round(value / length, DIGITS) for value in found]


def _features(text: str) -> Counter[str]:
    """Words, and pieces of words with their edges; neither case nor accents' encoding matters."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    features = Counter(f"={word}" for word in words)
    for word in words:
        edged = f"<{word}>"
        for length in PIECES:
            features.update(edged[at : at + length] for at in range(len(edged) - length + 1))
    return features
