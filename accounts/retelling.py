"""Sentences that were made in English, told again in the reader's language.

Workers and pure cores make and store English sentences, since they do not know who will read them.
Whoever shows one recognises it among the sentences it can be, and takes out what was filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from django.utils.translation import gettext as _


def again(told: str, sentences: Iterable[tuple[str, ...]]) -> str:
    """`told` in the reader's language, where it is one of `sentences`: each a few messages with
    `{gaps}`, one after the other. What fills a gap is translated too where it is a message.
    """
    for parts in sentences:
        if found := _filled(" ".join(parts)).fullmatch(told):
            filled = {name: _(text) for name, text in found.groupdict().items()}
            return " ".join(_(part).format_map(filled) for part in parts)
    return _(told)


@lru_cache(maxsize=512)
def _filled(sentence: str) -> re.Pattern[str]:
    """What a sentence reads like with its gaps filled in; the same gap has the same text."""
    pattern, known = "", set[str]()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", sentence):
        gap = f"(?P={name})" if name in known else f"(?P<{name}>.*?)"
        pattern += re.escape(text) + (gap if name else "")
        known.add(name)
    return re.compile(pattern, re.DOTALL)
