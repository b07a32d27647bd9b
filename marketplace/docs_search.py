"""Search in the documentation: passages of our own few files, ranked by where the words stand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from marketplace import docs_html
from marketplace import docs_library as library

#: Characters and words of a question that are read; passages shown; pages suggested; characters
#: around a hit.
LENGTH, WORDS, SHOWN, SUGGESTED, AROUND = 200, 8, 30, 5, 240
#: What a word is worth by where it stands.
_IN_TITLE, _IN_HEADING, _IN_TEXT = 6.0, 5.0, 1.0
_WORD = re.compile(r"[^\W_]+(?:[-_./][^\W_]+)*")
#: Words that stand everywhere and ask for nothing, left out unless nothing else was asked.
_EMPTY = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has"}
    | {"have", "how", "i", "if", "in", "is", "it", "long", "mean", "my", "of", "on", "or", "take"}
    | {"that", "the", "there", "this", "to", "was", "what", "when", "where", "which", "who", "why"}
    | {"will", "with", "you", "your"}
)


@dataclass(frozen=True)
class Piece:
    """Text of a result; `hit` where it is what was asked for."""

    text: str
    hit: bool = False


@dataclass(frozen=True)
class Result:
    """One passage. `path` leads to its heading."""

    title: str
    heading: str
    path: str
    section: str
    text: tuple[Piece, ...]


@dataclass(frozen=True)
class _Entry:
    slug: str
    title: str
    heading: str
    anchor: str
    section: str
    text: str
    title_words: frozenset[str]
    heading_words: frozenset[str]
    counts: Counter[str]


def find(question: str) -> tuple[tuple[Result, ...], bool]:
    """The best passages, and whether one of them holds every word."""
    words = asked(question)
    best = _ranked(words)[:SHOWN]
    every = any(all(_score(entry, word) for word in words) for entry in best)
    return tuple(_result(entry, words) for entry in best), every


def asked(question: str) -> list[str]:
    """The words of a question, in the form in which they are compared."""
    words = _WORD.findall(question.lower()[:LENGTH])
    told = [word for word in words if word not in _EMPTY] or words
    return list(dict.fromkeys(map(_root, told)))[:WORDS]


def suggestions(slug: str) -> tuple[Result, ...]:
    """Pages that somebody may have meant by an address that does not exist."""
    found, _ = find(slug.replace("-", " "))
    pages: dict[str, Result] = {}
    for result in found:
        pages.setdefault(result.path.partition("#")[0], result)
    return tuple(pages.values())[:SUGGESTED]


def _root(word: str) -> str:
    """Singular and plural are one word: refunds and refund, replies and reply."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _words_of(text: str) -> list[str]:
    """Each word, and the parts of those that are joined by dashes, dots or strokes."""
    found = []
    for word in _WORD.findall(text.lower()):
        found.append(_root(word))
        parts = re.split(r"[-_./]", word)
        found += [_root(part) for part in parts] if len(parts) > 1 else []
    return found


@cache
def _entries() -> tuple[_Entry, ...]:
    found = []
    for slug, document in library.documents().items():
        title_words = frozenset(_words_of(document.title))
        for passage in docs_html.passages(slug):
            heading = passage.heading
            found.append(
                _Entry(
                    slug,
                    document.title,
                    heading.text if heading else "",
                    heading.anchor if heading else "",
                    document.section,
                    passage.text,
                    title_words,
                    frozenset(_words_of(heading.text) if heading else ()),
                    Counter(_words_of(passage.text)),
                )
            )
    return tuple(found)


@cache
def _rarity() -> dict[str, float]:
    """How much a word tells: one that stands in few passages tells more."""
    seen: Counter[str] = Counter()
    for entry in _entries():
        seen.update(entry.counts.keys() | entry.heading_words | entry.title_words)
    return {word: 1 + math.log(len(_entries()) / count) for word, count in seen.items()}


def _ranked(words: Sequence[str]) -> list[_Entry]:
    """Best first, equal ones in reading order. Each word that a passage lacks costs it dearly;
    what is far behind the best is left out."""
    scored = []
    for entry in _entries():
        scores = [_score(entry, word) for word in words]
        held = sum(score > 0 for score in scores)
        if held:
            weight = _WEIGHT.get(entry.slug, _WEIGHT.get(entry.section, 1.0))
            scored.append((sum(scores) * weight * (held / len(words)) ** 3, entry))
    scored.sort(key=lambda pair: -pair[0])
    return [entry for score, entry in scored if score > scored[0][0] * _BEHIND]


#: Pages for maintainers and old decisions answer fewer questions of readers.
_WEIGHT = {"maintain": 0.35, library.DECISIONS: 0.4, library.CHANGELOG: 0.2, "reference": 0.6}
#: The part of the best score that a passage needs to be shown.
_BEHIND = 0.15


def _score(entry: _Entry, word: str) -> float:
    """A whole word counts in full, the beginning of one (three letters and more) for half."""
    told = _rarity().get(word, 1.0)
    score = 0.0
    # A title counts for the page's beginning; its sections are found by what they say themselves.
    places = (
        (_IN_TEXT if entry.heading else _IN_TITLE, _times(entry.title_words, word)),
        (_IN_HEADING, _times(entry.heading_words, word)),
        (_IN_TEXT, _dense(_times(entry.counts, word), entry.counts.total())),
    )
    for worth, times in places:
        score += worth * times * told
    return score


def _dense(times: float, length: int) -> float:
    """At most about 2: more of a word says little more, and in a long text it says less (BM25)."""
    return 2.2 * times / (times + 1.2 * (0.25 + 0.75 * length / _mean_length())) if times else 0.0


@cache
def _mean_length() -> float:
    return sum(entry.counts.total() for entry in _entries()) / len(_entries())


def _times(words: Iterable[str], word: str) -> float:
    """How often `word` is among `words`; a beginning counts for half."""
    if isinstance(words, Counter) and words[word]:
        return words[word]
    if not isinstance(words, Counter) and word in words:
        return 1
    return 0.5 if len(word) >= 3 and any(one.startswith(word) for one in words) else 0


def _result(entry: _Entry, words: Sequence[str]) -> Result:
    path = f"/docs/{entry.slug}" + (f"#{entry.anchor}" if entry.anchor else "")
    return Result(entry.title, entry.heading, path, entry.section, _marked(entry.text, words))


def _marked(text: str, words: Sequence[str]) -> tuple[Piece, ...]:
    """The part of `text` that says most about `words`, with these marked."""
    hits = [
        match
        for match in _WORD.finditer(text)
        if any(_same(part, word) for part in _words_of(match[0]) for word in words)
    ]
    start = _best_start(text, [match.start() for match in hits])
    end = min(len(text), start + AROUND)
    if end < len(text):
        end = max(text.rfind(" ", start, end), start + AROUND // 2)
    pieces = [Piece("… ")] if start else []
    place = start
    for match in hits:
        if match.start() >= place and match.end() <= end:
            pieces += [Piece(text[place : match.start()]), Piece(match[0], hit=True)]
            place = match.end()
    pieces.append(Piece(text[place:end] + (" …" if end < len(text) else "")))
    return tuple(piece for piece in pieces if piece.text)


def _same(part: str, word: str) -> bool:
    return part == word or (len(word) >= 3 and part.startswith(word))


def _best_start(text: str, hits: Sequence[int]) -> int:
    """Where to begin so that most hits are seen; the beginning of a word, some way before the
    first of them."""
    if not hits or hits[-1] < AROUND:
        return 0
    first = max(hits, key=lambda hit: sum(hit <= other < hit + AROUND - 60 for other in hits))
    before = max(0, first - 50)
    return text.find(" ", before, first) + 1 if before else 0
