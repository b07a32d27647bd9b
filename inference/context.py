"""What of a conversation a provider is sent: the shown branch, from where it was cut, as many of
the newest turns as fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference import attachments, conversations, tools
from inference.models import Chat, State, Turn
from inference.options import Options
from inference.tools import ToolCall, ToolResult
from inference.wire import Message, Picture

MAX_CONTEXT_CHARS = 96_000
MAX_CONTEXT_TURNS = 200


@dataclass(frozen=True)
class Asked:
    """A new question: its words ("" where it only gives results), its pictures, and the results of
    the calls of the turn before it.
    """

    words: str
    pictures: tuple[Picture, ...] = ()
    results: tuple[ToolResult, ...] = ()


def messages(
    chat: Chat,
    parent: int | None,
    options: Options,
    asked: Asked,
    *,
    pictures: int = 0,
    functions: bool = True,
) -> list[Message]:
    """The whole conversation, system prompt first and the new question last, with at most so many
    pictures of before: the newest. Where one was left out, the model is told so.

    Calls of functions and their results go along as such where `functions` may be sent, and are
    told in words where not.
    """
    said = [Message("system", options.system)] if options.system else []
    turns = context(chat, parent)
    going = _going(chat, turns, pictures)
    waiting: tuple[ToolCall, ...] = ()
    for turn in turns:
        files, left_out = going.get(turn.pk, ((), 0))
        words = turn.question + (f"\n\n[not sent again: {left_out} pictures]" if left_out else "")
        said += _questions(waiting, Asked(words, files, turn.results))
        said.append(_answer(turn, functions))
        waiting = said[-1].calls
    return [*said, *_questions(waiting, asked)]


def _answer(turn: Turn, functions: bool) -> Message:
    calls = turn.calls
    if not calls or (functions and _callable(turn, calls)):
        return Message("assistant", turn.answer, calls=calls)
    words = [turn.answer, *(call.words for call in calls)]
    return Message("assistant", "\n\n".join(filter(None, words)))


def _questions(waiting: tuple[ToolCall, ...], asked: Asked) -> list[Message]:
    """What is said next, where the answer before told these calls: they get their results first,
    for servers refuse a call without any.
    """
    if waiting:
        contents = [x.content for x in asked.results] or [tools.NO_RESULT] * len(waiting)
        given = zip(waiting, contents, strict=True)
        said = [Message("tool", content, result_of=call.id) for call, content in given]
        if asked.words or asked.pictures:
            said.append(Message("user", asked.words, asked.pictures))
        return said
    words = [*(result.words for result in asked.results), asked.words]
    return [Message("user", "\n\n".join(filter(None, words)), asked.pictures)]


def _callable(turn: Turn, calls: tuple[ToolCall, ...]) -> bool:
    """Whether the answer's calls can be told as calls: whole, in the format's own form, and with
    ids that tell their results apart.
    """
    apart = len({x.id for x in calls}) == len(calls)
    return apart and turn.state == State.ANSWERED and all(x.sound for x in calls)


def said_something(turn: Turn) -> bool:
    """Whether an answer is part of the conversation; what failed is not."""
    return bool(turn.answer or turn.calls_sealed) and turn.state != State.FAILED


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


def context(chat: Chat, parent: int | None) -> tuple[Turn, ...]:
    """The turns that go along with a new one under `parent`, oldest first. What failed is not part
    of the conversation.
    """
    if parent is None:
        return ()
    path = conversations.tree_of(chat).path(parent)
    after = [turn for turn in path if turn > chat.forgotten]
    rows = chat.turns.filter(pk__in=after[-MAX_CONTEXT_TURNS:])
    rows = rows.exclude(answer_sealed=b"", calls_sealed=b"")
    rows = rows.exclude(state__in=(State.OPEN, State.FAILED)).order_by("-pk")
    taken: list[Turn] = []
    room = MAX_CONTEXT_CHARS
    heavy = ("request_sealed", "response_sealed", "arrivals_sealed", "reasoning_sealed")
    for turn in rows.defer(*heavy):
        if not said_something(turn):
            continue  # thoughts alone, as older answers hold them
        room -= len(turn.question) + len(turn.answer)
        room -= len(turn.calls_sealed) + len(turn.results_sealed)
        if room < 0:
            break
        taken.append(turn)
    return tuple(reversed(taken))
