"""InferenceServing: contracts.md 4, 6.4 and 6.6; and what fine-tuning shares with it."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.live.oracle.core import Core
from tests.live.oracle.state import ONE, Refusal, Side

SETTLEMENT_TYPE = (
    "TEESettlement(bytes32 requestsHash,uint256 nonce,address provider,address user,"
    "uint256 totalFee)"
)


class ServingOracle(Core):
    def _stake(self, side: Side, sender: str, value: int) -> None:
        if side.stakes.get(sender):
            if value:
                raise Refusal("CannotAddStakeWhenUpdating")
            return
        if value < 100 * ONE:
            raise Refusal("InsufficientStake", value, 100 * ONE)
        side.stakes[sender] = value
        self._log(side.kind, "ProviderStaked", provider=sender, amount=value)

    def serving_removeService(self, side: Side, sender: str, value: int) -> None:
        self._service(side, sender)
        stake = side.stakes.pop(sender)
        self._log(side.kind, "ProviderStakeReturned", provider=sender, amount=stake)
        # Both contracts' events have one topic; the decoder names the argument as inference does.
        self._log(side.kind, "ServiceRemoved", service=sender)
        del side.services[sender]
        side.service_order.take_out(sender)

    def _service(self, side: Side, provider: str) -> dict[str, Any]:
        if provider not in side.services:
            raise Refusal("ServiceNotExist", provider)
        return side.services[provider]

    def _decide(self, side: Side, sender: str, provider: str, word: bool) -> None:
        self._owner_only(sender)
        service = self._service(side, provider)
        service["teeSignerAcknowledged"] = word
        self._log(
            side.kind,
            "ProviderTEESignerAcknowledged",
            provider=provider,
            teeSignerAddress=service["teeSignerAddress"],
            acknowledged=word,
        )

    def _owner_only(self, sender: str) -> None:
        if sender != self.owner:
            raise Refusal("Error", "Ownable: caller is not the owner")

    def serving_acknowledgeTEESignerByOwner(
        self, side: Side, sender: str, value: int, provider: str
    ) -> None:
        self._decide(side, sender, provider, True)

    def serving_revokeTEESignerAcknowledgement(
        self, side: Side, sender: str, value: int, provider: str
    ) -> None:
        self._decide(side, sender, provider, False)

    def serving_acknowledgeTEESigner(
        self, side: Side, sender: str, value: int, provider: str, word: bool
    ) -> None:
        pair = self._pair(side, sender, provider)
        if pair.acknowledged and not word and pair.balance:
            raise Refusal("CannotRevokeWithNonZeroBalance", sender, provider, pair.balance)
        pair.acknowledged = word

    def serving_updateLockTime(self, side: Side, sender: str, value: int, seconds: int) -> None:
        self._owner_only(sender)
        inference = side.kind == "inference"
        if not 3600 <= seconds <= 604_800:
            bounds = (3600, 604_800) if inference else ()
            raise Refusal("LockTimeOutOfRange", seconds, *bounds)
        if inference or seconds != side.lock_time:
            self._log(side.kind, "LockTimeUpdated", oldLockTime=side.lock_time, newLockTime=seconds)
        side.lock_time = seconds


class InferenceOracle(ServingOracle):
    def inference_addOrUpdateService(
        self, side: Side, sender: str, value: int, params: dict[str, Any]
    ) -> None:
        self._stake(side, sender, value)
        if len(params["additionalInfo"].encode()) > 4096:
            raise Refusal("AdditionalInfoTooLong")
        old = side.services.get(sender)
        trusted = ("serviceType", "model", "verifiability", "additionalInfo", "teeSignerAddress")
        kept = old is not None and all(old[name] == params[name] for name in trusted)
        side.services[sender] = {
            **params,
            "provider": sender,
            "updatedAt": self.now,
            "teeSignerAcknowledged": kept and old is not None and old["teeSignerAcknowledged"],
        }
        if old is None:
            side.service_order.append(sender)
        logged = ("serviceType", "url", "inputPrice", "outputPrice", "model", "verifiability")
        self._log(
            "inference",
            "ServiceUpdated",
            service=sender,
            updatedAt=self.now,
            **{name: params[name] for name in logged},
        )

    def inference_revokeToken(
        self, side: Side, sender: str, value: int, provider: str, token: int
    ) -> None:
        self._pair(side, sender, provider).bitmap |= 1 << token
        self._log("inference", "TokenRevoked", user=sender, provider=provider, tokenId=token)

    def inference_revokeTokens(
        self, side: Side, sender: str, value: int, provider: str, tokens: list[int]
    ) -> None:
        pair = self._pair(side, sender, provider)
        for token in tokens:
            pair.bitmap |= 1 << token
        self._log("inference", "TokensRevoked", user=sender, provider=provider, tokenIds=tokens)

    def inference_revokeAllTokens(self, side: Side, sender: str, value: int, provider: str) -> None:
        pair = self._pair(side, sender, provider)
        pair.generation, pair.bitmap = pair.generation + 1, 0
        self._log(
            "inference",
            "AllTokensRevoked",
            user=sender,
            provider=provider,
            newGeneration=pair.generation,
        )

    def inference_settleFeesWithTEE(
        self, side: Side, sender: str, value: int, items: list[dict[str, Any]]
    ) -> None:
        if not items:
            raise Refusal("NoSettlementsProvided")
        if len(items) > 50:
            raise Refusal("TooManySettlements", len(items), 50)
        for item in items:
            status, paid = self._settle_item(side, sender, item)
            self._log(
                "inference",
                "TEESettlementResult",
                user=item["user"],
                status=status,
                unsettledAmount=item["totalFee"] - paid,
            )

    def _settle_item(self, side: Side, caller: str, item: dict[str, Any]) -> tuple[int, int]:
        """The status table of contracts.md 6.4, top to bottom."""
        pair = side.pairs.get((item["user"], caller))
        service = side.services.get(caller)
        if item["provider"] != caller:
            return 2, 0
        if pair is None or not pair.live:
            return 5, 0
        if service is None:
            return 2, 0
        signer = service["teeSignerAddress"]
        if not (pair.acknowledged and service["teeSignerAcknowledged"] and int(signer, 16)):
            return 3, 0
        if item["nonce"] <= pair.nonce:
            return 4, 0
        struct = keccak(
            keccak(text=SETTLEMENT_TYPE)
            + item["requestsHash"]
            + encode(
                ["uint256", "address", "address", "uint256"],
                [item["nonce"], item["provider"], item["user"], item["totalFee"]],
            )
        )
        if self.recover("inference", struct, item["signature"]) != signer:
            return 5, 0
        pair.nonce = item["nonce"]
        paid = min(item["totalFee"], pair.balance)
        if paid:
            self._charge(side, pair, paid)
        return (1 if item["totalFee"] > paid else 0), paid
