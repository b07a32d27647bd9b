"""What a model thinks inside its answer, `<think>…</think>` at the very beginning, as models write
it whose server does not tell it apart. Pure; the bytes that are hashed stay as they came.
"""

from __future__ import annotations

from inference.wire import Piece

_OPENING, _CLOSING = "<think>", "</think>"
#: What stands behind more blanks is no beginning.
_MOST_BLANKS = 100


class Thoughts:
    """Tells the pieces of one answer apart, however they were cut."""

    def __init__(self) -> None:
        #: Whether some thinking stood in the answer.
        self.found = False
        self._awaited = _OPENING  # "" once nothing can follow any more
        self._held = ""  # what may be the beginning of it
        self._blank = False  # between thoughts and answer

    def take(self, piece: Piece) -> Piece:
        """The same with its thoughts as `reasoning`; what may be half a mark comes with a later
        piece."""
        if not (self._awaited or self._blank):
            return piece
        text, thought = self._held + piece.text, ""
        self._held = ""
        over = bool(piece.finish_reason or piece.done or piece.error)
        if self._awaited == _OPENING:
            begun = text.lstrip()
            near = len(text) - len(begun) <= _MOST_BLANKS
            if near and begun.startswith(_OPENING):
                text, self._awaited, self.found = begun[len(_OPENING) :], _CLOSING, True
            elif near and _OPENING.startswith(begun) and not over:
                self._held, text = text, ""
            else:
                self._awaited = ""
        if self._awaited == _CLOSING:
            thought, closed, text = text.partition(_CLOSING)
            if closed:
                self._awaited, self._blank = "", True
            elif not over:
                self._held = _half(thought)
                thought = thought.removesuffix(self._held)
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return piece._replace(text=text, reasoning=piece.reasoning + thought)


def told_apart(answer: str) -> tuple[str, str]:
    """Answer and thoughts of one that was stored with its thoughts inside, as all were before
    0.2.0.
    """
    if _CLOSING not in answer:
        return answer, ""
    piece = Thoughts().take(Piece(answer, done=True))
    return piece.text, piece.reasoning


def _half(text: str) -> str:
    """The longest end of a text that is a beginning of the closing mark."""
    ends = (text[-size:] for size in range(min(len(_CLOSING) - 1, len(text)), 0, -1))
    return next((end for end in ends if _CLOSING.startswith(end)), "")
