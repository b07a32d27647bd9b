"""Mail through the host's server, which may be as slow and as endless as any other.

`smtplib` waits for each byte anew and reads replies of any number of lines: a server that drips, or
never ends a reply, would keep a worker for good.
"""

from __future__ import annotations

import smtplib
import socket
import time
from typing import Any

from django.core.mail.backends.smtp import EmailBackend

#: For everything that is said about one mail, seconds; and of all the server's words, bytes.
SECONDS = 20.0
MOST_BYTES = 64 << 10


class _Replies:
    """What the server says, line by line, within SECONDS and MOST_BYTES; `smtplib`'s `file`."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._socket, self._until = connection, until
        self._held, self._left = bytearray(), MOST_BYTES

    def readline(self, most: int) -> bytes:
        """One line with its end, or what came before the end. Raises OSError."""
        while (end := self._held.find(b"\n")) < 0 and len(self._held) < most:
            data = self._received()
            if not data:
                break
            self._held += data
        line = bytes(self._held[: min(most, end + 1 if end >= 0 else len(self._held))])
        del self._held[: len(line)]
        return line

    def _received(self) -> bytes:
        rest = self._until - time.monotonic()
        if rest <= 0 or self._left <= 0:
            raise TimeoutError("the mail server takes too long, or says too much")
        before = self._socket.gettimeout()
        self._socket.settimeout(rest if before is None else min(rest, before))
        try:
            data = self._socket.recv(4096)
        finally:
            self._socket.settimeout(before)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """The socket is closed by whoever opened it."""


class _Bounded:
    """A connection of `smtplib` that reads through `_Replies`."""

    sock: socket.socket | None
    file: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        self._until = time.monotonic() + SECONDS
        super().__init__(*args, **options)

    def getreply(self) -> tuple[int, bytes]:
        # None before the first reply, and again after STARTTLS.
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock, self._until)
        found: tuple[int, bytes] = super().getreply()  # type: ignore[misc]
        return found


class _Plain(_Bounded, smtplib.SMTP):
    pass


class _Tls(_Bounded, smtplib.SMTP_SSL):
    pass


class Backend(EmailBackend):
    """Django's own, bounded. Raises OSError (smtplib's errors are ones)."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _Tls if self.use_ssl else _Plain
