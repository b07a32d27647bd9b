"""Hands a finished adapter to the inference broker that will serve it (provider-protocol.md 1.1).

Both brokers hold one secret. What proves that we know it and what seals the key are derived from it
separately, so that the wire never carries what opens a key.
"""

from __future__ import annotations

import hashlib
import hmac

import aiohttp

from protocol import ecies
from protocol.digests import SECP256K1_ORDER
from provider.tuning.options import Handover
from provider.tuning.tasks import Task

PATH = "/internal/v1/adapter-keys"
CALL_SECONDS = 20


class HandoverError(Exception):
    """The other broker did not take it; trying again later may help."""


def bearer(secret: str) -> str:
    """What the caller shows, in hex."""
    return hmac.new(secret.encode(), b"adapter keys: caller", hashlib.sha256).hexdigest()


def private_key(secret: str) -> bytes:
    """What opens the keys that are handed over: a private key of 32 bytes."""
    raw = hmac.new(secret.encode(), b"adapter keys: sealed for", hashlib.sha256).digest()
    return (1 + int.from_bytes(raw, "big") % (SECP256K1_ORDER - 1)).to_bytes(32, "big")


class Receiver:
    """The inference broker."""

    def __init__(self, session: aiohttp.ClientSession, choice: Handover) -> None:
        self._session = session
        self._choice = choice
        self._public_key = ecies.public_key_of(private_key(choice.secret))

    async def give(self, task: Task) -> None:
        """Tell of an adapter, with its key. Raises HandoverError."""
        body = {
            "taskId": task.id,
            "userAddress": task.user,
            "baseModel": task.model,
            "storageHash": "0x" + task.root.hex(),
            "providerEncKey": "0x" + ecies.seal(task.secret, self._public_key).hex(),
        }
        try:
            async with self._session.post(
                self._choice.url + PATH,
                json=body,
                headers={"Authorization": f"Bearer {bearer(self._choice.secret)}"},
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
                allow_redirects=False,
            ) as reply:
                if reply.status not in (200, 201, 202):
                    raise HandoverError(f"it answers {reply.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HandoverError(repr(error)) from error
