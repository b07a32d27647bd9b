"""Sentences that were made in English, told again in the reader's language.

Workers and pure cores make and store English sentences, since they do not know who will read them.
Whoever shows one recognises it among the sentences it can be, and takes out what was filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from django.utils.translation import gettext as _

#: No sentence of ours is longer with its gaps filled; what a stranger said may be, and looking for
#: several gaps in it takes the square of its length.
LONGEST = 1_000


def again(told: str, sentences: Iterable[str]) -> str:
    """`told` in the reader's language, where it is one of `sentences` (messages with `{gaps}`), or
    several of them one after the other; else as it is. What fills a gap is translated too where it
    is a message.
    """
    if len(told) > LONGEST:
        return _(told)
    known = tuple(sentences)
    for sentence in known:
        if found := _filled(sentence, r"\Z").match(told):
            return _again(sentence, found)
    parts, rest = [], told
    while rest:
        heads = ((sentence, _filled(sentence, r"(?: |\Z)").match(rest)) for sentence in known)
        sentence, head = next(((s, m) for s, m in heads if m), ("", None))
        if head is None:
            return _(told)
        parts.append(_again(sentence, head))
        rest = rest[head.end() :]
    return " ".join(parts)


def _again(sentence: str, found: re.Match[str]) -> str:
    return _(sentence).format_map({name: _(text) for name, text in found.groupdict().items()})


@lru_cache(maxsize=1024)
def _filled(sentence: str, end: str) -> re.Pattern[str]:
    """What a sentence reads like with its gaps filled in; the same gap has the same text."""
    pattern, known = "", set[str]()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", sentence):
        gap = f"(?P={name})" if name in known else f"(?P<{name}>.*?)"
        pattern += re.escape(text) + (gap if name else "")
        known.add(name)
    return re.compile(pattern + end, re.DOTALL)
