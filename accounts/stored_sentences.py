"""Sentences that were stored in English, translated into the reader's language.

Workers and pure cores make and store English sentences, since they do not know who will read them.
Whoever shows one recognises it among the sentences it can be, and takes out what was filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

#: No sentence of ours is longer with its gaps filled; what a stranger said may be, and looking for
#: several gaps in it takes the square of its length.
LONGEST = 1_000


#: What 0.1.0 stored in other words than are made now: such rows are read in every language, too.
FORMER = (
    N_("its chain entry names another key than its evidence"),
    N_("The provider can now charge the full fee and releases the key to the model."),
    N_("Compose file is one we reviewed"),
    N_("This site was restarted while it waited"),
    N_("This site was restarted while the answer was written"),
    N_("Ask it from another wallet in the playground: your own cannot be its customer."),
    N_("it runs other software than before"),
    N_("its signing key is another provider's too"),
    N_("It was not handed over. Nothing was sent."),
)

#: What a message leaves open: `{name}`, or `%(name)s`.
_GAP = re.compile(r"\{(\w+)\}|%\((\w+)\)s")


def translated(told: str, sentences: Iterable[str], within: tuple[str, ...] = ()) -> str:
    """`told` in the reader's language, where it is one of `sentences` (messages with gaps), or
    several of them one after the other; else as it is. What fills a gap is translated too where it
    is a message, and so are its gaps where it is one of `within`.
    """
    if len(told) > LONGEST:
        return _(told)
    known = tuple(sentences)
    # Several sentences before one of them: the gap of one could hold all that follows it.
    if (parts := _parts(told, known)) is not None:
        return " ".join(_translated(sentence, found, within) for sentence, found in parts)
    for sentence in known:
        if found := _filled(sentence, r"\Z").match(told):
            return _translated(sentence, found, within)
    return _(told)


def _parts(told: str, known: tuple[str, ...]) -> list[tuple[str, re.Match[str]]] | None:
    """The sentences that `told` consists of, one after the other; None where some of it is none."""
    parts = []
    while told:
        heads = ((sentence, _filled(sentence, r"(?: |\Z)").match(told)) for sentence in known)
        sentence, head = next(((s, m) for s, m in heads if m), ("", None))
        if head is None:
            return None
        parts.append((sentence, head))
        told = told[head.end() :]
    return parts


def _translated(sentence: str, found: re.Match[str], within: tuple[str, ...]) -> str:
    values = {name: translated(text, within) for name, text in found.groupdict().items()}
    return _(sentence) % values if "%(" in sentence else _(sentence).format_map(values)


@lru_cache(maxsize=1024)
def _filled(sentence: str, end: str) -> re.Pattern[str]:
    """What a sentence reads like with its gaps filled in; the same gap has the same text."""
    pattern, known, place = "", set[str](), 0
    for gap in _GAP.finditer(sentence):
        name = gap[1] or gap[2]
        pattern += re.escape(sentence[place : gap.start()])
        pattern += f"(?P={name})" if name in known else f"(?P<{name}>.*?)"
        known.add(name)
        place = gap.end()
    return re.compile(pattern + re.escape(sentence[place:]) + end, re.DOTALL)
