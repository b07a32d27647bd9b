"""FineTuningServing: contracts.md 5 and 6.5."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.live.oracle.serving import ServingOracle
from tests.live.oracle.state import Refusal, Side

VERIFIER_TYPE = (
    "VerifierMessage(string id,bytes encryptedSecret,bytes modelRootHash,uint256 nonce,"
    "uint256 taskFee,address user)"
)


class FineTuningOracle(ServingOracle):
    def fine_tuning_addOrUpdateService(
        self,
        side: Side,
        sender: str,
        value: int,
        url: str,
        quota: dict[str, Any],
        price: int,
        occupied: bool,
        models: list[str],
        signer: str,
    ) -> None:
        self._stake(side, sender, value)
        old = side.services.get(sender)
        if old is None:
            side.service_order.append(sender)
        kept = old is not None and old["teeSignerAddress"] == signer
        side.services[sender] = {
            "provider": sender,
            "url": url,
            "quota": quota,
            "pricePerToken": price,
            "occupied": occupied,
            "models": models,
            "teeSignerAddress": signer,
            "teeSignerAcknowledged": kept and old is not None and old["teeSignerAcknowledged"],
        }
        self._log(
            "fine_tuning",
            "ServiceUpdated",
            provider=sender,
            url=url,
            quota=quota,
            pricePerToken=price,
            teeSignerAddress=signer,
            occupied=occupied,
        )

    def fine_tuning_updatePenaltyPercentage(
        self, side: Side, sender: str, value: int, percentage: int
    ) -> None:
        self._owner_only(sender)
        if percentage > 100:
            raise Refusal("PenaltyPercentageTooHigh", percentage)
        self.state.penalty = percentage

    def fine_tuning_addDeliverable(
        self, side: Side, sender: str, value: int, user: str, name: str, root: bytes
    ) -> None:
        if not 1 <= len(name.encode()) <= 256:
            raise Refusal("DeliverableIdInvalidLength", len(name.encode()))
        items = self._pair(side, user, sender).deliverables
        if any(one["id"] == name for one in items):
            raise Refusal("DeliverableAlreadyExists", name)
        if items and not items[-1]["acknowledged"]:
            raise Refusal("PreviousDeliverableNotAcknowledged", items[-1]["id"])
        if len(items) == 20:
            if not items[0]["settled"]:
                raise Refusal("CannotEvictUnsettledDeliverable", items[0]["id"])
            evicted = items.pop(0)["id"]
            self._log(
                "fine_tuning",
                "DeliverableEvicted",
                provider=sender,
                user=user,
                evictedDeliverableId=evicted,
                newDeliverableId=name,
                timestamp=self.now,
            )
        items.append(
            {
                "id": name,
                "modelRootHash": root,
                "encryptedSecret": b"",
                "acknowledged": False,
                "timestamp": self.now,
                "settled": False,
            }
        )
        self._log(
            "fine_tuning",
            "DeliverableAdded",
            user=user,
            provider=sender,
            deliverableId=name,
            modelRootHash=root,
            timestamp=self.now,
        )

    def _deliverable(self, side: Side, user: str, provider: str, name: str) -> dict[str, Any]:
        for one in self._pair(side, user, provider).deliverables:
            if one["id"] == name:
                return one
        raise Refusal("DeliverableNotExists", name)

    def _deliverable_log(self, event: str, user: str, provider: str, name: str) -> None:
        self._log(
            "fine_tuning",
            event,
            user=user,
            provider=provider,
            deliverableId=name,
            timestamp=self.now,
        )

    def fine_tuning_acknowledgeDeliverable(
        self, side: Side, sender: str, value: int, provider: str, name: str
    ) -> None:
        item = self._deliverable(side, sender, provider, name)
        if item["settled"]:
            raise Refusal("CannotAcknowledgeSettledDeliverable", name)
        item["acknowledged"] = True
        self._deliverable_log("DeliverableAcknowledged", sender, provider, name)

    def fine_tuning_abandonDeliverable(
        self, side: Side, sender: str, value: int, user: str, name: str
    ) -> None:
        item = self._deliverable(side, user, sender, name)
        if item["settled"]:
            raise Refusal("CannotAbandonSettledDeliverable", name)
        item["acknowledged"] = item["settled"] = True
        self._deliverable_log("DeliverableAbandoned", user, sender, name)

    def fine_tuning_settleFees(
        self, side: Side, sender: str, value: int, v: dict[str, Any]
    ) -> None:
        pair = self._pair(side, v["user"], sender)
        service = self._service(side, sender)
        signer = service["teeSignerAddress"]
        if not (pair.acknowledged and service["teeSignerAcknowledged"] and int(signer, 16)):
            raise Refusal("InvalidVerifierInput", "TEE signer not acknowledged")
        if v["nonce"] <= pair.nonce:
            raise Refusal("InvalidVerifierInput", "nonce should larger than the current nonce")
        if v["taskFee"] > pair.balance:
            raise Refusal("InvalidVerifierInput", "insufficient balance")
        item = self._deliverable(side, v["user"], sender, v["id"])
        if item["settled"]:
            raise Refusal("DeliverableAlreadySettled", v["id"])
        if item["modelRootHash"] != v["modelRootHash"]:
            raise Refusal("InvalidVerifierInput", "model root hash mismatch")
        struct = keccak(
            keccak(text=VERIFIER_TYPE)
            + keccak(text=v["id"])
            + keccak(v["encryptedSecret"])
            + keccak(v["modelRootHash"])
            + encode(["uint256", "uint256", "address"], [v["nonce"], v["taskFee"], v["user"]])
        )
        if self.recover("fine_tuning", struct, v["signature"]) != signer:
            raise Refusal("InvalidVerifierInput", "TEE settlement validation failed")
        if item["acknowledged"]:
            if not v["encryptedSecret"]:
                raise Refusal("SecretShouldNotBeEmpty")
            item["encryptedSecret"], fee = v["encryptedSecret"], v["taskFee"]
        else:
            if v["encryptedSecret"]:
                raise Refusal("SecretShouldBeEmpty")
            fee = v["taskFee"] * self.state.penalty // 100
        pair.nonce = v["nonce"]
        item["settled"] = True
        self._log(
            "fine_tuning",
            "FeesSettled",
            user=pair.user,
            provider=sender,
            deliverableId=v["id"],
            fee=fee,
            acknowledged=item["acknowledged"],
            nonce=v["nonce"],
        )
        self._charge(side, pair, fee)
