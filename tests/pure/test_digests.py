"""EIP-191 and EIP-712 digests against vectors that contracts and the SDK accepted.

Only canonical signatures count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.digests import (
    SECP256K1_ORDER,
    BadSignature,
    Settlement,
    VerifierMessage,
    address_of_key,
    domain_separator,
    personal_digest,
    recover,
    settlement_digest,
    sign,
    verifier_digest,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/provider/settlement.json").read_text()
)
KEY = bytes.fromhex("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6")
SIGNER = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


def as_bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


@pytest.mark.parametrize("vector", VECTORS["inference_tee_settlement"], ids=lambda v: v["name"])
def test_settlement_digest_is_what_the_contract_checks(vector: dict[str, Any]) -> None:
    data = vector["typed_data"]
    message, domain = data["message"], data["domain"]
    item = Settlement(
        message["user"],
        message["provider"],
        int(message["totalFee"]),
        as_bytes(message["requestsHash"]),
        int(message["nonce"]),
    )
    where = {"chain_id": domain["chainId"], "contract": domain["verifyingContract"]}
    digest = settlement_digest(item, **where)
    separator = domain_separator(domain["name"], domain["chainId"], domain["verifyingContract"])
    assert "0x" + separator.hex() == vector["domain_separator"]
    assert "0x" + digest.hex() == vector["digest"]
    assert recover(digest, vector["signature"]) == vector["signer"]


@pytest.mark.parametrize("vector", VECTORS["fine_tuning_verifier_message"], ids=lambda v: v["name"])
def test_verifier_digest_is_what_the_contract_checks(vector: dict[str, Any]) -> None:
    data = vector["typed_data"]
    message, domain = data["message"], data["domain"]
    digest = verifier_digest(
        VerifierMessage(
            message["id"],
            as_bytes(message["encryptedSecret"]),
            as_bytes(message["modelRootHash"]),
            int(message["nonce"]),
            int(message["taskFee"]),
            message["user"],
        ),
        chain_id=domain["chainId"],
        contract=domain["verifyingContract"],
    )
    assert "0x" + digest.hex() == vector["digest"]
    assert recover(digest, vector["signature"]) == vector["signer"]


@pytest.mark.parametrize(
    ("name", "chain_id", "contract", "separator"),
    [
        (
            "0G Inference Serving",
            16661,
            "0x47340d900bdFec2BD393c626E12ea0656F938d84",
            "72e92d6704ca166b5be1580af84840c130f74eea4b4ce278ee3e4714553a14d1",
        ),
        (
            "0G Fine-Tuning Serving",
            16602,
            "0xC6C075D8039763C8f1EbE580be5ADdf2fd6941bA",
            "e9d95d44d54cf3ab2897a648638d16755abd89e83e9fa74ccfd5d56b8f8074f6",
        ),
    ],
)
def test_domain_separators_of_the_real_networks(
    name: str, chain_id: int, contract: str, separator: str
) -> None:
    assert domain_separator(name, chain_id, contract).hex() == separator


@given(st.binary(max_size=200))
def test_recover_undoes_sign(message: bytes) -> None:
    digest = personal_digest(message)
    assert recover(digest, sign(digest, KEY)) == SIGNER == address_of_key(KEY)


def test_only_canonical_signatures_count() -> None:
    digest = personal_digest(b"pay")
    good = sign(digest, KEY)
    s = int.from_bytes(good[32:64], "big")
    twin = (
        good[:32]
        + (SECP256K1_ORDER - s).to_bytes(32, "big")
        + bytes([55 - good[64]])  # the other root, which recovers to the same key
    )
    bad: dict[str, bytes | str] = {
        "low v": good[:64] + bytes([good[64] - 27]),
        "high s": twin,
        "short": good[:64],
        "long": good + b"\0",
        "zero r": b"\0" * 32 + good[32:],
        "zero s": good[:32] + b"\0" * 32 + good[64:],
        "no hex": "0x" + "zz" * 65,
        "odd hex": "0x" + good.hex()[1:],
        "no prefix": good.hex(),
        "no point": b"\xff" * 31 + b"\xfe" + good[32:],
    }
    for name, signature in bad.items():
        with pytest.raises(BadSignature):
            pytest.fail(f"{name} recovered {recover(digest, signature)}")
    assert recover(digest, "0x" + good.hex()) == SIGNER
