"""Finding passages for a question: BM25 over stemmed words, headings counting more than text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from provider.answerer.corpus import Passage

K1 = 1.4
B = 0.7
HEADING_WEIGHT = 3

_WORD = re.compile(r"[a-z0-9][a-z0-9_]*")
_COMMON = """
    a about all also am an and any are as at be been but by can could did do does doing for
    from get give had has have he her here him his how i if in into is it its just let like
    make me more most much my no nor not now of off on one only or other our out over please
    she should so some such tell than thank thanks that the their them then there these they
    this those to too up use used using very want was way we were what when where which while
    who whom why will with work works would you your explain describe mean means happen
    happens need hello hi hey
"""
STOPWORDS = frozenset(_COMMON.split())


@dataclass(frozen=True)
class Hit:
    """A passage with its score, and the share (0-1) of the question's weight that it contains."""

    passage: Passage
    score: float
    coverage: float


def words(text: str) -> list[str]:
    """The stemmed words of `text` that mean something."""
    return [stem(word) for word in _WORD.findall(text.lower()) if word not in STOPWORDS]


def stem(word: str) -> str:
    """A crude stem, the same for `refund`, `refunds`, `refunded` and `refunding`."""
    for ending in ("ational", "ments", "ment", "ings", "ing", "ers", "ies", "ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
    return word.rstrip("e") if len(word) > 4 else word


class Index:
    """The passages, ready to be searched."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._bags = [
            Counter(words(p.text) + words(f"{p.heading} {p.source}") * HEADING_WEIGHT)
            for p in passages
        ]
        self._lengths = [sum(bag.values()) for bag in self._bags]
        self._average = sum(self._lengths) / max(len(self._lengths), 1)
        seen: Counter[str] = Counter()
        for bag in self._bags:
            seen.update(bag.keys())
        total = len(passages)
        self._idf = {w: math.log(1 + (total - n + 0.5) / (n + 0.5)) for w, n in seen.items()}
        self._rarest = math.log(1 + (total + 0.5) / 0.5)

    def topics(self, limit: int) -> list[str]:
        """Section headings that a newcomer may ask about, spread over the files of docs/."""
        by_source: dict[str, list[str]] = {}
        for passage in self._passages:
            title, separator, section = passage.heading.rpartition(" › ")
            guide = passage.source.startswith("docs/") and passage.source.count("/") == 1
            if guide and separator and " › " not in title:
                by_source.setdefault(passage.source, []).append(section)
        ranked = [h for row in zip_longest(*by_source.values()) for h in row if h is not None]
        return list(dict.fromkeys(ranked))[:limit]

    def search(self, question: Mapping[str, float], limit: int = 3) -> list[Hit]:
        """The best passages for weighted words, best first."""
        mass = sum(weight * self._idf.get(w, self._rarest) for w, weight in question.items())
        if not mass:
            return []
        hits = []
        for passage, bag, length in zip(self._passages, self._bags, self._lengths, strict=True):
            score = covered = 0.0
            for word, weight in question.items():
                if count := bag.get(word, 0):
                    idf = weight * self._idf[word]
                    norm = K1 * (1 - B + B * length / self._average)
                    score += idf * count * (K1 + 1) / (count + norm)
                    covered += idf
            if score:
                hits.append(Hit(passage, score * passage.weight, covered / mass))
        hits.sort(key=lambda hit: -hit.score)
        return hits[:limit]
