"""A provider that cheats, for demonstrations and tests: it signs answers it did not send.

The signature is genuine and by the key on chain, so a client that only asks "signed by the right
key?" is fooled; one that hashes what it received sees the lie.
"""

from __future__ import annotations

import hashlib

from protocol import replies
from provider.tee.dev import DevTee

OTHER_TEXT = b"This is another text than the one that was sent."


class LyingTee(DevTee):
    """The development signer, signing the hash of `OTHER_TEXT` for whatever was answered."""

    def sign_answer(self, request_sha256: str, response_sha256: str) -> tuple[str, str]:
        other = hashlib.sha256(OTHER_TEXT + response_sha256.encode()).hexdigest()
        text = replies.signed_text(request_sha256, other)
        return text, replies.sign_text(text, self._answer_key)
