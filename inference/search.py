"""Search in one's own conversations. They are encrypted, so no index can help: the newest turns are
opened and read, and the page says how many.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from accounts import limits
from accounts.models import User
from inference import access
from inference.models import Chat, Medium
from inference.pages import Search
from net.cache import tried

LOOKED_AT = 500
#: As far as they are not longer together: models may write two hundred megabytes of them.
LOOKED_AT_BYTES = 20 << 20
#: Each opens and reads as much anew: a second of one process, where the answers are long.
PER_MINUTE = 30
SHOWN = 50
AROUND = 40
MAX_WORDS_CHARS = 100


@dataclass(frozen=True)
class Hit:
    """A conversation and where in it the words were found."""

    chat: Chat
    excerpt: str


def search(user: User, session_key: str | None, words: str) -> tuple[list[Hit], Search]:
    """Conversations whose name, questions or answers, with functions called and their results,
    contain `words` (letter case ignored), newest first, among the newest LOOKED_AT turns that have
    LOOKED_AT_BYTES together (1 query). Raises TooMany.
    """
    tried(lambda: limits.spend("chat-search", user.address, limit=PER_MINUTE, seconds=60), None)
    wanted = words.casefold()
    rows = access.turns_of(user, session_key).filter(chat__medium=Medium.CHAT)
    rows = rows.only(
        "question_sealed", "answer_sealed", "calls_sealed", "results_sealed", "chat__owner",
        "chat__key_sealed", "chat__title_sealed", "chat__updated_at", "chat__session_key",
    )  # fmt: skip
    looked_at, left, more = 0, LOOKED_AT_BYTES, False
    chats: dict[object, Chat] = {}
    found: dict[object, Hit] = {}
    for turn in rows[: LOOKED_AT + 1].iterator(chunk_size=20):
        left -= len(turn.answer_sealed) + len(turn.calls_sealed)
        more = looked_at == LOOKED_AT or (left < 0 and looked_at > 0)
        if more:
            break
        looked_at += 1
        # One object per conversation, so that its key is opened once.
        turn.chat = chats.setdefault(turn.chat_id, turn.chat)
        if turn.chat_id in found:
            continue
        called = [text for x in turn.calls for text in (x.name, x.arguments)]
        called += [text for x in turn.results for text in (x.name, x.content)]
        for text in (turn.chat.title, turn.question, turn.answer, *called):
            at = text.casefold().find(wanted)
            if at >= 0:
                found[turn.chat_id] = Hit(turn.chat, _excerpt(text, at, len(words)))
                break
    hits = list(found.values())[:SHOWN]
    return hits, Search(words, looked_at, len(found), more)


def _excerpt(text: str, folded: int, length: int) -> str:
    """What stands around `folded` of the casefolded text, which may be longer: ß is two there."""
    at = bisect_right(range(len(text)), folded, key=lambda end: len(text[:end].casefold())) - 1
    start, end = max(0, at - AROUND), at + length + AROUND
    cut = " ".join(text[start:end].split())
    return ("…" if start else "") + cut + ("…" if end < len(text) else "")
