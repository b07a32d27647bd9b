"""Development evidence: what a TEE would hand over, made without one under development roots.

Structurally complete quotes, collateral, GPU evidence, manifests, OCSP answers and tokens, so that
an unmodified verifier with other trust anchors judges them like genuine ones (attestation.md 14).
Every subject says DEVELOPMENT ONLY; roots derive from a seed, so two installations' roots differ.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from provider.errors import ConfigError

_SEED_BYTES = 32


def seed(path: Path) -> bytes:
    """The seed in a file (hex), made on first use and readable by its owner only.

    Whoever shares the file shares the roots. Raises ConfigError.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            part.touch(mode=0o600)
            part.write_text(secrets.token_hex(_SEED_BYTES))
            try:
                path.hardlink_to(part)  # the first of several wins
            except FileExistsError:
                pass
            finally:
                part.unlink()
        found = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"development seed: {path} cannot be used ({error})") from error
    if len(found) < _SEED_BYTES:
        raise ConfigError(f"development seed: {path} holds fewer than {_SEED_BYTES} bytes")
    return found
