"""What a provider says it is owed and has not settled yet: sums only, signed by its wallet
(docs/broker.md, "Sharing what is unsettled").

A broker answers `GET /v1/unsettled` with it where its operator has chosen so. The signature binds
the sums to one service on one chain; how old they are is for the reader to judge. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from protocol.abi import checksum
from protocol.digests import BadSignature, personal_digest, recover, sign

PATH = "/v1/unsettled"
MAX_BYTES = 4096
_TITLE = "0G broker: unsettled fees"
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,77})\Z")


class BadUnsettled(ValueError):
    """The document is not one of these, or its signature is not the provider's; the text says
    which."""


@dataclass(frozen=True)
class Unsettled:
    """Sums over all users: `fee` and `at_risk_fee` in neuron, `users` and `at_risk_users` counted.

    `at` is the unix second of counting. At risk is what may be more than a user's sub-account holds
    before it is settled.
    """

    provider: str
    chain_id: int
    contract: str
    at: int
    fee: int
    users: int
    at_risk_fee: int
    at_risk_users: int

    def text(self) -> str:
        """What the wallet signs, as an EIP-191 personal message."""
        return "\n".join(
            (
                _TITLE,
                f"provider {self.provider}",
                f"chain {self.chain_id}",
                f"contract {self.contract}",
                f"at {self.at}",
                f"fee {self.fee} neuron of {self.users} users",
                f"at risk {self.at_risk_fee} neuron of {self.at_risk_users} users",
            )
        )

    def document(self, wallet_key: bytes) -> dict[str, Any]:
        """The JSON object, signed; neuron as decimal text."""
        signature = sign(personal_digest(self.text().encode()), wallet_key)
        return {
            "provider": self.provider,
            "chainId": self.chain_id,
            "contract": self.contract,
            "at": self.at,
            "unsettledFee": str(self.fee),
            "users": self.users,
            "atRiskFee": str(self.at_risk_fee),
            "atRiskUsers": self.at_risk_users,
            "signature": "0x" + signature.hex(),
        }


def parse(document: object, *, provider: str, chain_id: int, contract: str) -> Unsettled:
    """What `provider` (EIP-55) says about its service of `contract` (EIP-55) on that chain.

    Raises BadUnsettled for anything else, and for a signature that is not the provider's.
    """
    if not isinstance(document, dict):
        raise BadUnsettled("expected an object")
    try:
        found = Unsettled(
            provider=checksum(document["provider"]),
            chain_id=_count(document, "chainId"),
            contract=checksum(document["contract"]),
            at=_count(document, "at"),
            fee=_neuron(document, "unsettledFee"),
            users=_count(document, "users"),
            at_risk_fee=_neuron(document, "atRiskFee"),
            at_risk_users=_count(document, "atRiskUsers"),
        )
        signer = recover(personal_digest(found.text().encode()), str(document["signature"]))
    except KeyError as error:
        raise BadUnsettled(f"{error.args[0]} is missing") from error
    except BadSignature as error:
        raise BadUnsettled(str(error)) from error
    except (TypeError, ValueError) as error:
        raise BadUnsettled("a field is not what it should be") from error
    if (found.provider, found.chain_id, found.contract) != (provider, chain_id, contract):
        raise BadUnsettled("it is about another service")
    if signer != provider:
        raise BadUnsettled("it is not signed by the provider")
    return found


def _count(document: dict[str, Any], name: str) -> int:
    value = document[name]
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(name)
    return value


def _neuron(document: dict[str, Any], name: str) -> int:
    value = document[name]
    if not isinstance(value, str) or not _DECIMAL.match(value):
        raise ValueError(name)
    return int(value)
