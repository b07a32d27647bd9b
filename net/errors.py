"""What can go wrong while talking to a stranger.

    NetError
      BadUrl            the text is not a URL we are willing to ask
      Refused           the name leads to an address we do not talk to
      Unreachable       no address, no connection
        InsecureConnection   broken TLS
      TimedOut          `stage` is connect, first_byte, between or total
      BrokenOff         the connection ended in the middle of an answer
      TooLarge          headers or body beyond the limit
      BadAnswer         an answer that breaks HTTP, its own encoding, or JSON
        BadStatus       a status the caller did not accept; carries the body's beginning
        BadRedirect     a redirect to another host, or too many

Messages are for people and never contain credentials; text that the stranger chose is cut and
marked by `repr`.
"""

from __future__ import annotations

from typing import Literal

Stage = Literal["connect", "first_byte", "between", "total"]


class NetError(Exception):
    """Base of everything `net` raises."""


class BadUrl(NetError):
    """Not an http(s) URL without credentials."""


class Refused(NetError):
    """The host leads to an address that this client does not talk to (private, loopback, metadata
    …).
    """


class Unreachable(NetError):
    """Name not found, connection refused, TLS failed."""


class InsecureConnection(Unreachable):
    """TLS failed: the certificate is not one for this host, or has ended."""


class TimedOut(NetError):
    """A named time limit ran out."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        self.stage = stage
        self.seconds = seconds
        super().__init__(f"no answer within {seconds:g} s ({stage.replace('_', ' ')})")


class BrokenOff(NetError):
    """The connection ended before the answer did."""


class TooLarge(NetError):
    """More bytes than allowed."""


class BadAnswer(NetError):
    """The answer breaks a format it claims to have."""


class BadStatus(BadAnswer):
    """A status that the caller did not accept.

    `body` holds at most the limit the caller gave (bytes as sent, decoded); `retry_after` is in
    seconds, 0 if absent.
    """

    def __init__(self, status: int, body: bytes = b"", retry_after: int = 0) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        super().__init__(f"status {status}")


class BadRedirect(BadAnswer):
    """A redirect we do not follow."""
