"""What of a conversation a provider is sent: the shown branch, from where it was cut, as many of
the newest turns as fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference import attachments, conversations
from inference.models import Chat, State, Turn
from inference.options import Options
from inference.wire import Message, Picture

MAX_CONTEXT_CHARS = 96_000
MAX_CONTEXT_TURNS = 200


@dataclass(frozen=True)
class Context:
    """Turns that go along, oldest first; `left_out` counts older ones on the branch that do not."""

    turns: tuple[Turn, ...]
    left_out: int


def messages(chat: Chat, parent: int | None, options: Options, pictures: int = 0) -> list[Message]:
    """Everything before the new question, system prompt first, with at most so many pictures: the
    newest. Where one was left out, the model is told so.
    """
    said = [Message("system", options.system)] if options.system else []
    turns = context(chat, parent).turns
    going = _going(chat, turns, pictures)
    for turn in turns:
        files, left_out = going.get(turn.pk, ((), 0))
        words = turn.question + (f"\n\n[not sent again: {left_out} pictures]" if left_out else "")
        said += [Message("user", words, files), Message("assistant", turn.answer)]
    return said


def _going(
    chat: Chat, turns: tuple[Turn, ...], room: int
) -> dict[int, tuple[tuple[Picture, ...], int]]:
    """Per turn with pictures: those that go along, and how many do not."""
    found = attachments.of_turns(chat, [turn.pk for turn in turns])
    going: dict[int, tuple[tuple[Picture, ...], int]] = {}
    for turn in sorted(found, reverse=True):
        sent = tuple(attachments.part(file) for file in found[turn][:room])
        room -= len(sent)
        going[turn] = sent, len(found[turn]) - len(sent)
    return going


def context(chat: Chat, parent: int | None) -> Context:
    """The turns before a new one under `parent`. What failed is not part of the conversation."""
    if parent is None:
        return Context((), 0)
    path = conversations.tree_of(chat).path(parent)
    after = [turn for turn in path if turn > chat.forgotten]
    rows = chat.turns.filter(pk__in=after[-MAX_CONTEXT_TURNS:]).exclude(answer_sealed=b"")
    rows = rows.exclude(state__in=(State.OPEN, State.FAILED)).order_by("-pk")
    taken: list[Turn] = []
    room = MAX_CONTEXT_CHARS
    for turn in rows.defer("request_sealed", "response_sealed", "reasoning_sealed"):
        room -= len(turn.question) + len(turn.answer)
        if room < 0:
            break
        taken.append(turn)
    return Context(tuple(reversed(taken)), len(path) - len(taken))
