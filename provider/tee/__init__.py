"""Who signs: the broker knows a TEE only through this interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from provider.config import TeeChoice
from provider.errors import ConfigError


class Tee(Protocol):
    """A key that never leaves its enclave, and the evidence about the enclave."""

    @property
    def address(self) -> str:
        """The signer's EIP-55 address, as registered on chain."""
        ...

    def sign(self, digest: bytes) -> bytes:
        """The 65-byte signature of a settlement digest."""
        ...

    def sign_answer(self, request_sha256: str, response_sha256: str) -> tuple[str, str]:
        """Text and 0x-hex signature for one answer (provider-protocol.md 3.1)."""
        ...

    def quote(self) -> dict[str, Any]:
        """The body of `GET /v1/quote` (provider-protocol.md 4.3)."""
        ...


def load(choice: TeeChoice, state: Path, *, model: str) -> Tee:
    """The backend the operator chose. Raises ConfigError for an unknown one."""
    from provider.tee.dev import DevTee
    from provider.tee.lying import LyingTee

    backends: dict[str, Callable[[bytes, str], Tee]] = {"dev": DevTee, "lying": LyingTee}
    if choice.backend not in backends:
        raise ConfigError(f"tee.backend: expected one of {', '.join(backends)}")
    return backends[choice.backend](choice.key or _kept_key(state), model)


def _kept_key(state: Path) -> bytes:
    """A key generated once into the state folder, readable by its owner only."""
    import secrets

    from protocol.digests import SECP256K1_ORDER

    path = state / "development-signer.key"
    state.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        key = (1 + secrets.randbelow(SECP256K1_ORDER - 1)).to_bytes(32, "big")
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(key.hex())
        temporary.rename(path)
    try:
        return bytes.fromhex(path.read_text().strip())
    except ValueError as error:
        raise ConfigError(f"tee.key: {path.name} in the state folder is damaged") from error
