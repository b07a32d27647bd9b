"""What moderation refuses, as problems that a person can act on."""

from __future__ import annotations

from accounts.errors import Problem


class Refused(Problem):
    """This act cannot be done now; nothing was written."""

    def __init__(self, code: str, title: str, fix: str = "") -> None:
        super().__init__(code, title, fix, status=409)
