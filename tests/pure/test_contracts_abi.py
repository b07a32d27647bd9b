"""Our contracts present exactly the interface of the networks' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from devnet.abi import NAMES, load
from protocol.abi import ARTIFACTS

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "contracts.json").read_text())
SOURCES = ARTIFACTS.parent / "src"
PUBLISHED = [
    ("zgMainnet/LedgerManager", "LedgerManager"),
    ("zgTestnetV4/LedgerManager", "LedgerManagerTestnet"),
    ("zgMainnet/InferenceServing", "InferenceServing"),
    ("zgTestnetV4/InferenceServing", "InferenceServing"),
    ("zgMainnet/FineTuningServing", "FineTuningServing"),
    ("zgTestnetV4/FineTuningServing", "FineTuningServing"),
    ("zgTestnetV4/FineTuningServing_v1.1", "FineTuningServing"),
    ("common/UpgradeableBeacon", "UpgradeableBeacon"),
    ("common/BeaconProxy", "BeaconProxy"),
]


def entries(abi: list[dict[str, Any]]) -> set[str]:
    """Whole entries: names, order and nesting of every argument, indexed, mutability. A constructor
    is not part of an interface."""
    return {json.dumps(e, sort_keys=True) for e in abi if e["type"] != "constructor"}


@pytest.mark.parametrize(("published", "ours"), PUBLISHED)
def test_the_abi_equals_the_published_one(shared: Path, published: str, ours: str) -> None:
    theirs = json.loads((shared / "abi" / f"{published}.json").read_text())
    assert entries(load(ours).abi) == entries(theirs)


def test_selectors_and_topics_equal_the_published_ones(shared: Path) -> None:
    published = json.loads((shared / "abi" / "selectors.json").read_text())
    for name, theirs in published.items():
        ours = load(name)
        assert {f.signature: "0x" + f.selector.hex() for f in ours.functions.values()} == {
            f["signature"]: f["selector"] for f in theirs["functions"]
        }
        assert {e.signature: e.topic for e in ours.events.values()} == {
            e["signature"]: e["topic0"] for e in theirs["events"]
        }
        assert {"0x" + keccak(text=e)[:4].hex(): e for e in ours.errors} == {
            e["selector"]: e["signature"] for e in theirs["errors"]
        }


def test_events_of_every_published_release_that_are_still_emitted_are_ours(shared: Path) -> None:
    """The latest release's topics are in the recorded history under the same signatures."""
    text = (shared / "abi" / "history_events.json").read_text()
    for name in ("LedgerManager", "InferenceServing", "FineTuningServing"):
        for event in load(name).events.values():
            assert event.topic in text, event.signature


@pytest.mark.parametrize("call", sorted(VECTORS["calldata"]))
def test_calldata_of_the_vectors_is_decoded_and_encoded_unchanged(call: str) -> None:
    """Every recorded call has a function of ours that reproduces it byte for byte."""
    from eth_abi.abi import decode

    contract, _, rest = call.partition(".")
    names = {
        "ledger": "LedgerManager",
        "inference": "InferenceServing",
        "fine-tuning": "FineTuningServing",
    }
    function = load(names[contract]).functions[rest.partition("(")[0]]
    data = bytes.fromhex(VECTORS["calldata"][call]["data"][2:])
    assert function.selector == data[:4]
    values = decode([argument.type for argument in function.inputs], data[4:])
    python = [a.plain(v) for a, v in zip(function.inputs, values, strict=True)]
    assert function.encode(*python) == data
    value = int(VECTORS["calldata"][call]["value"])
    assert value == 0 or function.mutability == "payable"


@pytest.mark.parametrize(
    ("namespace", "source"),
    [
        ("0g.serving.ledger", "ledger/LedgerServices.sol"),
        ("0g.serving.inference.v1.0", "inference/InferenceServices.sol"),
        ("0g.serving.finetuning.v1.0", "finetuning/FineTuningServices.sol"),
    ],
)
def test_the_storage_bases_follow_erc_7201(namespace: str, source: str) -> None:
    inner = int.from_bytes(keccak(text=namespace), "big") - 1
    base = int.from_bytes(keccak(inner.to_bytes(32, "big")), "big") & ~0xFF
    assert f"{base:#066x}" in (SOURCES / source).read_text()


def test_the_serving_interface_id_is_the_registered_one() -> None:
    """The ledger accepts only contracts that answer this ERC-165 id (contracts.md 2)."""
    serving = load("InferenceServing").functions
    members = (
        "accountExists",
        "getPendingRefund",
        "addAccount",
        "depositFund",
        "requestRefundAll",
        "processRefund",
        "deleteAccount",
    )
    found = 0
    for name in members:
        assert serving[name].selector == load("FineTuningServing").functions[name].selector
        found ^= int.from_bytes(serving[name].selector, "big")
    assert f"{found:#010x}" == "0x160841b1"


def test_every_artifact_carries_the_pinned_compiler_and_fits_a_block() -> None:
    """24,576 bytes is the limit of deployed code (EIP-170)."""
    files = sorted(path.stem for path in ARTIFACTS.glob("*.json"))
    assert files == sorted(NAMES)
    pinned = json.loads((ARTIFACTS.parent / "package.json").read_text())["devDependencies"]["solc"]
    for name in NAMES:
        raw = json.loads((ARTIFACTS / f"{name}.json").read_text())
        assert raw["compiler"].startswith(f"{pinned}+commit.")
        assert 0 < len(raw["deployedBytecode"]) // 2 <= 24_576


def test_no_lock_file_names_a_registry() -> None:
    assert '"resolved"' not in (ARTIFACTS.parent / "package-lock.json").read_text()
