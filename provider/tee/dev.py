"""The development signer: a key in a file, and complete evidence under development roots.

Its reports have the shapes and the cryptography of a real broker's and model's
(provider-protocol.md 4.3, 4.4), so that every client and verifier can be tried against them.
Whoever trusts the vendors' roots must fail them, and they say themselves what they are.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eth_utils.crypto import keccak

from protocol import replies
from protocol.digests import address_of_key, personal_digest, sign
from provider.config import MachineChoice
from provider.tee.development import intel
from provider.tee.development.intel import Intel
from provider.tee.development.nvidia import Nvidia
from provider.tee.development.report import Machine, model_report, report

NOTICE = (
    "DEVELOPMENT EVIDENCE: this signer's key lies in a file, no trusted hardware is involved and "
    "nothing here proves anything."
)


class DevTee:
    """Signs honestly with a private key it was given; `seed` decides whose roots vouch for it."""

    def __init__(self, key: bytes, seed: bytes, choice: MachineChoice) -> None:
        self._key = key
        self._answer_key = choice.model_key or key
        self._seed = seed
        self._choice = choice
        self.address = address_of_key(key)
        self.answer_signer = address_of_key(self._answer_key)
        self._machines: dict[str, tuple[Intel, Nvidia]] = {}

    def sign(self, digest: bytes) -> bytes:
        return sign(digest, self._key)

    def sign_answer(self, request_sha256: str, response_sha256: str) -> tuple[str, str]:
        text = replies.signed_text(request_sha256, response_sha256)
        return text, replies.sign_text(text, self._answer_key)

    def sign_body(self, body: bytes) -> str:
        return "0x" + sign(personal_digest(keccak(body)), self._key).hex()

    def quote(self, *, legacy: bool) -> dict[str, Any]:
        v1 = not legacy or self._choice.layout == "v1"
        machine = Machine(
            self.address,
            encryption_key=self._encryption_key if v1 else None,
            gpus=0 if self._choice.model_key else self._choice.gpus,
            fields=self._fields,
            fresh=True,
        )
        return {"development": NOTICE, **report(*self._vendors(self.address), machine)}

    def model_report(self, nonce: bytes) -> dict[str, Any]:
        who = self.answer_signer
        machine = Machine(who, gpus=self._choice.gpus, fields=self._fields, fresh=True)
        return {"development": NOTICE, **model_report(*self._vendors(who), machine, nonce)}

    def _vendors(self, signer: str) -> tuple[Intel, Nvidia]:
        """Both vendors, with the CPU package and the GPUs of this signer's machine."""
        if signer not in self._machines:
            old = self._choice.tcb == "OutOfDate"
            cpu_svn = intel.OLD_CPU_SVN if old else intel.CPU_SVN
            self._machines[signer] = Intel(self._seed, signer, cpu_svn), Nvidia(self._seed, signer)
        return self._machines[signer]

    @property
    def _fields(self) -> dict[str, bytes]:
        attributes = intel.DEBUG_ATTRIBUTES if self._choice.debug else intel.NORMAL_ATTRIBUTES
        return {"td_attributes": attributes}

    @cached_property
    def _encryption_key(self) -> bytes:
        """The X25519 public key of the v1 layout."""
        secret = hashlib.sha256(b"response encryption" + self._key).digest()
        return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
