"""Who signs: the broker knows a TEE only through this interface."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Protocol

import orjson

from protocol.digests import SECP256K1_ORDER, address_of_key
from provider.config import TeeChoice
from provider.errors import ConfigError
from provider.http import Answer, Request
from provider.keyfiles import kept

KEPT_KEY = "development-signer.key"


class Tee(Protocol):
    """A key that never leaves its enclave, and the evidence about the enclave."""

    @property
    def address(self) -> str:
        """The signer's EIP-55 address, as registered on chain."""
        ...

    @property
    def answer_signer(self) -> str:
        """Who signs answers: the model's TD where it has one of its own, else `address`."""
        ...

    def sign(self, digest: bytes) -> bytes:
        """The 65-byte signature of a settlement digest."""
        ...

    def sign_answer(self, request_sha256: str, response_sha256: str) -> tuple[str, str]:
        """Text and 0x-hex signature for one answer (provider-protocol.md 3.1)."""
        ...

    def sign_body(self, body: bytes) -> str:
        """The `ZG-Quote-Signature` of the exact bytes of `quote`, 0x-hex (attestation.md 8)."""
        ...

    def quote(self, *, legacy: bool) -> dict[str, Any]:
        """The body of `GET /v1/quote`; not legacy: of `?legacy=false` (attestation.md 8)."""
        ...

    def model_report(self, nonce: bytes) -> dict[str, Any]:
        """The body of `GET /v1/proxy/attestation/report` for a nonce of 32 bytes
        (provider-protocol.md 4.4).
        """
        ...


async def show_quote(tee: Tee, request: Request, answer: Answer) -> None:
    """`GET /v1/quote`: the broker's TD, and in a header the signature over the body's exact bytes
    (attestation.md 8)."""
    body = orjson.dumps(tee.quote(legacy=request.query.get("legacy") != "false"))
    headers = {"zg-quote-signature": tee.sign_body(body), "cache-control": "no-store"}
    await answer.whole(200, body, "application/json; charset=utf-8", headers)


def load(choice: TeeChoice, state: Path) -> Tee:
    """The backend the operator chose. Raises ConfigError for an unknown one."""
    from provider.tee.dev import DevTee
    from provider.tee.development import seed
    from provider.tee.lying import LyingTee

    backends: dict[str, type[DevTee]] = {"dev": DevTee, "lying": LyingTee}
    if choice.backend not in backends:
        raise ConfigError(f"tee.backend: expected one of {', '.join(backends)}")
    machine = choice.machine
    roots = seed(machine.seed_file or state / "development-roots.seed")
    return backends[choice.backend](choice.key or _kept_key(state), roots, machine)


def signer_so_far(choice: TeeChoice, state: Path) -> str:
    """The signer's address without making anything: "" before the first start has made a key.

    Raises ConfigError.
    """
    if choice.key is not None:
        return address_of_key(choice.key)
    try:
        return address_of_key(_kept_key(state)) if (state / KEPT_KEY).exists() else ""
    except OSError as error:
        raise ConfigError(f"state: {state} cannot be read ({error.strerror})", "state") from error


def _kept_key(state: Path) -> bytes:
    """A key generated once into the state folder, readable by its owner only."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        return bytes.fromhex(kept(state / KEPT_KEY, _made_key))
    except ValueError as error:
        raise ConfigError(f"tee.key: {KEPT_KEY} in the state folder is damaged") from error


def _made_key() -> str:
    return (1 + secrets.randbelow(SECP256K1_ORDER - 1)).to_bytes(32, "big").hex()
