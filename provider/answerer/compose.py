"""From a conversation to a quoted answer in Markdown. Pure and deterministic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from provider.answerer.search import Hit, Index, words

NOTICE = "*I quote this project’s documentation; I write nothing of my own.*"
PICTURES = "*I measure pictures; I recognise nothing in them.*"
MIN_COVERAGE = 0.34
SECOND_BEST = 0.7
MAX_QUOTE_CHARS = 700
EARLIER_WEIGHT = 0.4
SHORT_QUESTION_WORDS = 3

# A token here is up to six letters with the blanks before them, or one mark: about what language
# models count. Joined again the pieces are the text.
_TOKEN = re.compile(r"\s*(?:\w{1,6}|[^\w\s])|\s+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Turn:
    """One message of the conversation; `seen`: what was measured of its pictures."""

    role: str
    content: str
    seen: tuple[str, ...] = ()


def tokens(text: str) -> list[str]:
    """`text` in the pieces that are counted and streamed."""
    return _TOKEN.findall(text)


def answer(index: Index, turns: Sequence[Turn]) -> str:
    """The best passages for the last question, or an honest "nothing found"; of its pictures, what
    can be measured.
    """
    shown = next((turn.seen for turn in reversed(turns) if turn.role == "user"), ())
    if shown:
        listed = "\n".join(f"- {sentence}" for sentence in shown)
        return f"{PICTURES}\n\n{listed}"
    questions = [turn.content for turn in turns if turn.role == "user"]
    wanted = _question(questions)
    hits = index.search(wanted)
    if not hits or hits[0].coverage < MIN_COVERAGE:
        return _nothing(index, greeting=not wanted)
    best = hits[0]
    chosen = [
        hit
        for hit in hits
        if hit.score >= SECOND_BEST * best.score and hit.coverage >= MIN_COVERAGE
    ]
    parts = [NOTICE]
    for hit in chosen:
        parts.append(f"**{hit.passage.heading or hit.passage.source}**")
        parts.append(_quote(_excerpt(hit, wanted)))
        parts.append(f"— `{hit.passage.source}`")
    return "\n\n".join(parts)


def _question(questions: Sequence[str]) -> dict[str, float]:
    """Weighted words of the last question; a short one leans on the one before."""
    if not questions:
        return {}
    wanted = dict.fromkeys(words(questions[-1]), 1.0)
    if len(wanted) < SHORT_QUESTION_WORDS and len(questions) > 1:
        for word in words(questions[-2]):
            wanted.setdefault(word, EARLIER_WEIGHT)
    return wanted


def _nothing(index: Index, *, greeting: bool) -> str:
    """Says so, and what can be asked instead."""
    start = (
        "Hello. Ask me something about this marketplace and I will show you what its documentation "
        "says."
        if greeting
        else "I found no passage about that in this project’s documentation, and I do not guess."
    )
    topics = "\n".join(f"- {topic}" for topic in index.topics(6))
    return f"{NOTICE}\n\n{start}\n\nSome things I can quote:\n\n{topics}"


def _excerpt(hit: Hit, wanted: dict[str, float]) -> str:
    """The paragraphs around the best one, as many as fit."""
    paragraphs = re.split(r"\n{2,}", _LINK.sub(r"\1", hit.passage.text))
    scores = [
        sum(wanted.get(word, 0) for word in set(words(paragraph))) for paragraph in paragraphs
    ]
    start = end = max(range(len(paragraphs)), key=lambda i: (scores[i], -i))
    size = len(paragraphs[start])
    # Forward first: what follows explains; then backward for what leads up to it.
    for step in (1, -1):
        edge = end if step == 1 else start
        while 0 <= edge + step < len(paragraphs):
            size += len(paragraphs[edge + step])
            if size > MAX_QUOTE_CHARS:
                break
            edge += step
        if step == 1:
            end = edge
        else:
            start = edge
    return _shorten("\n\n".join(paragraphs[start : end + 1]))


def _shorten(text: str) -> str:
    """At most about MAX_QUOTE_CHARS, cut after a sentence or a line and marked as cut."""
    if len(text) <= MAX_QUOTE_CHARS * 1.3:
        return text
    cuts = [match.end() for match in re.finditer(r"[.!?](?=\s)|\n", text[:MAX_QUOTE_CHARS])]
    short = text[: cuts[-1] if cuts else MAX_QUOTE_CHARS].rstrip()
    fences = Counter(line[:3] for line in short.splitlines())["```"]
    return f"{short}\n```\n…" if fences % 2 else f"{short} …"


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
