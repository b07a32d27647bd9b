"""What the chat's doors may answer with instead of doing what was asked."""

from __future__ import annotations


class ChatError(Exception):
    """A sentence for the person and a stable code for programs."""

    code = "chat_error"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class NotReady(ChatError):
    """Something has to be done first: deposit, transfer, key … `code` is the gate's name."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Busy(ChatError):
    """An answer is still being written in this conversation, or too many at once."""

    code = "busy"


class BadPrompt(ChatError):
    """Empty, too long, or not text."""

    code = "bad_prompt"


class Closing(ChatError):
    """This process is about to end and takes no new turns."""

    code = "closing"


class Unavailable(ChatError):
    """Redis does not answer, so nobody could watch or stop an answer: better not to begin one."""

    code = "unavailable"
