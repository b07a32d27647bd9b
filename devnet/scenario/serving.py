"""What providers, the owner and users do to services and pairs."""

from __future__ import annotations

from devnet import accounts
from devnet.scenario.base import HOUR, MODELS, ONE, Base, Call


class ServingActions(Base):
    """contracts.md 4.1, 5 and 6.6."""

    def _stake(self, kind: str, number: int) -> int:
        if self._view(kind, "getService", self.providers[number].address) is not None:
            return ONE if self.rng.random() < 0.1 else 0
        return 99 * ONE if self.rng.random() < 0.1 else 100 * ONE + self.rng.randint(0, 5)

    def _inference_service(self, number: int) -> Call:
        rng = self.rng
        params = {
            "serviceType": "chatbot" if rng.random() < 0.95 else "text-to-image",
            "url": f"http://127.0.0.1:{9000 + number}/{rng.randint(0, 3)}",
            "model": MODELS[number % 5] if rng.random() < 0.9 else rng.choice(MODELS),
            "verifiability": "TeeML" if rng.random() < 0.95 else "",
            "inputPrice": rng.randint(0, 10**12),
            "outputPrice": rng.randint(0, 10**13),
            "additionalInfo": "{}" if rng.random() < 0.95 else '{"dev": true}',
            "teeSignerAddress": self.signers[number].address,
        }
        by = self.providers[number]
        value = self._stake("inference", number)
        return Call(by, "inference", "addOrUpdateService", (params,), value)

    def inference_service(self) -> Call:
        return self._inference_service(self.rng.randrange(len(self.providers)))

    def _fine_tuning_service(self, number: int) -> Call:
        rng = self.rng
        quota = {
            "cpuCount": rng.randint(1, 64),
            "nodeMemory": rng.randint(1, 512),
            "gpuCount": rng.randint(0, 8),
            "nodeStorage": rng.randint(1, 4000),
            "gpuType": rng.choice(("H100", "H200")),
        }
        models = rng.sample([m for m in MODELS if m], rng.randint(0, 3))
        args = (
            f"http://127.0.0.1:{9100 + number}",
            quota,
            rng.randint(0, 10**12),
            rng.random() < 0.3,
            models,
            self.signers[number].address,
        )
        by = self.providers[number]
        value = self._stake("fine_tuning", number)
        return Call(by, "fine_tuning", "addOrUpdateService", args, value)

    def fine_tuning_service(self) -> Call:
        return self._fine_tuning_service(self.rng.randrange(len(self.providers)))

    def remove_service(self) -> Call:
        return Call(self.rng.choice(self.providers), self._kind(), "removeService")

    def _acknowledge(self, kind: str, number: int) -> Call:
        provider = self.providers[number].address
        return Call(accounts.owner(), kind, "acknowledgeTEESignerByOwner", (provider,))

    def owner_decision(self) -> Call:
        number, kind = self.rng.randrange(len(self.providers)), self._kind()
        if self.rng.random() < 0.9:
            return self._acknowledge(kind, number)
        provider = self.providers[number].address
        return Call(accounts.owner(), kind, "revokeTEESignerAcknowledgement", (provider,))

    def lock_time(self) -> Call:
        seconds = self.rng.choice((HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 10))
        return Call(accounts.owner(), self._kind(), "updateLockTime", (seconds,))

    def penalty(self) -> Call:
        value = self.rng.choice((0, 10, 30, 50, 100, 101))
        return Call(accounts.owner(), "fine_tuning", "updatePenaltyPercentage", (value,))

    def user_acknowledgement(self) -> Call:
        args = (self.rng.choice(self.providers).address, self.rng.random() < 0.5)
        return Call(self._user(), self._kind(), "acknowledgeTEESigner", args)

    def revoke_tokens(self) -> Call:
        provider = self.rng.choice(self.providers).address
        draw = self.rng.random()
        if draw < 0.5:
            token = self.rng.randint(0, 255)
            return Call(self._user(), "inference", "revokeToken", (provider, token))
        if draw < 0.8:
            tokens = [self.rng.randint(0, 255) for _ in range(self.rng.randint(0, 5))]
            return Call(self._user(), "inference", "revokeTokens", (provider, tokens))
        return Call(self._user(), "inference", "revokeAllTokens", (provider,))
