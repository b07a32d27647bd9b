"""What the chat's doors may answer with instead of doing what was asked."""

from __future__ import annotations

from django.utils.translation import gettext as _


class ChatError(Exception):
    """A sentence for the person, a stable code for programs, and where to read on ("" nowhere)."""

    code = "chat_error"
    href = ""
    #: HTTP: something else has to happen first.
    status = 409

    def __init__(self, words: str, **values: object) -> None:
        super().__init__(words % values if values else words)
        self._words, self._values = words, values

    @property
    def sentence(self) -> str:
        """In the language of whoever reads it, words among the values too."""
        said = {k: _(v) if isinstance(v, str) else v for k, v in self._values.items()}
        return _(self._words) % said if said else _(self._words)


class NotReady(ChatError):
    """Something has to be done first: deposit, transfer, key … `code` is the gate's name."""

    def __init__(self, code: str, sentence: str, href: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.href = href


class SignerChanged(NotReady):
    """Another key than for the last answer would sign now; `signer` is the new one's address."""

    def __init__(self, before: str, signer: str) -> None:
        super().__init__(
            "signer_changed",
            _(
                "This provider’s signing key changed since your last question: it was "
                "%(before)s, now it is %(signer)s. Nothing was sent."
            )
            % {"before": before, "signer": signer},
        )
        self.signer = signer


class Busy(ChatError):
    """An answer is still being written in this conversation, or too many at once."""

    code = "busy"


class WentOn(ChatError):
    """Another window or device asked meanwhile, or turned to another version: the question would
    follow, and pay for, what the page that asks does not show.
    """

    code = "went_on"


class BadPrompt(ChatError):
    """Empty, too long, or not text."""

    code = "bad_prompt"
    status = 400


class SignedOut(ChatError):
    """The session that asks has ended."""

    code = "signed_out"


class Closing(ChatError):
    """This process is about to end and takes no new turns."""

    code = "closing"


class Unavailable(ChatError):
    """Redis does not answer, so nobody could watch or stop an answer: better not to begin one."""

    code = "unavailable"
