"""Calldata, results and reverts: round trips, recorded examples, hostile bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.exceptions import DecodingError
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import abi
from protocol.abi import AbiError, Argument

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parents[1] / "shared" / "abi" / "selectors.json"
CHANGING = [
    (contract, function.name)
    for contract in abi.CONTRACTS
    for function in abi.functions(contract).values()
]


def values(argument: Argument) -> st.SearchStrategy[Any]:
    kind = argument.type
    if kind.endswith("]"):
        return st.lists(values(Argument("", kind[: kind.rindex("[")], argument.fields)), max_size=3)
    if argument.fields:
        return st.fixed_dictionaries({f.name: values(f) for f in argument.fields})
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(lambda b: abi.checksum("0x" + b.hex()))
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    if kind == "bytes":
        return st.binary(max_size=70).map(lambda b: "0x" + b.hex())
    if kind.startswith("bytes"):
        size = int(kind[5:])
        return st.binary(min_size=size, max_size=size).map(lambda b: "0x" + b.hex())
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
    return {"bool": st.booleans(), "string": text}[kind]


@pytest.mark.parametrize(("contract", "function"), CHANGING)
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_calldata_round_trips(contract: str, function: str, data: st.DataObject) -> None:
    inputs = abi.functions(contract)[function].inputs
    given_values = [data.draw(values(a)) for a in inputs]
    encoded = abi.encode_call(contract, function, *given_values)
    found = abi.decode_call(contract, encoded)
    assert found == (function, {a.name: v for a, v in zip(inputs, given_values, strict=True)})


@pytest.mark.parametrize("selector", sorted(abi.errors()))
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_every_error_decodes(selector: str, data: st.DataObject) -> None:
    shape = abi.errors()[selector]
    found = [data.draw(values(a)) for a in shape.inputs]
    encoded = abi.CODEC.encode([a.type for a in shape.inputs], found).hex()
    expected = {a.name: v for a, v in zip(shape.inputs, found, strict=True)}
    assert abi.decode_error(selector + encoded) == (shape.name, expected)


def test_errors_of_the_same_name_are_told_apart() -> None:
    names = [shape.name for shape in abi.errors().values()]
    for name in ("AdditionalInfoTooLong", "LockTimeOutOfRange", "LimitTooLarge", "CallerNotLedger"):
        assert names.count(name) == 2, name


SHAPES = [
    shape
    for contract in abi.CONTRACTS
    for function in abi.functions(contract).values()
    for shape in (function.inputs, function.outputs)
    if shape
]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_compiled_decoding_is_as_strict_as_the_generic_one(data: st.DataObject) -> None:
    """Right and damaged encodings: the same values, or refused by both."""
    shape = data.draw(st.sampled_from(SHAPES))
    types = [a.type for a in shape]
    damaged = bytearray(abi.CODEC.encode(types, [a.wire(data.draw(values(a))) for a in shape]))
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.sampled_from([0, 1, 31, 32, 33, 64, 96, 128, 255]))
    raw = bytes(damaged[: len(damaged) - data.draw(st.sampled_from([0, 0, 1, 32, 64]))])
    try:
        expected = [a.plain(v) for a, v in zip(shape, abi.CODEC.decode(types, raw), strict=True)]
    except (DecodingError, ValueError, OverflowError):
        with pytest.raises(AbiError):
            abi.decode_arguments(shape, raw)
    else:
        assert abi.decode_arguments(shape, raw) == expected


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_answer_or_none(raw: bytes) -> None:
    data = "0x" + raw.hex()
    abi.decode_error(data)
    for contract in abi.CONTRACTS:
        abi.decode_call(contract, data)
    for selector in list(abi.errors())[:5]:
        abi.decode_error(selector + raw.hex())


@pytest.mark.parametrize("data", [None, "", "0x", "0x1234", "zz", "0x08c379a0zz"])
def test_no_error_data_is_no_error(data: str | None) -> None:
    assert abi.decode_error(data) is None


def test_recorded_calldata_decodes() -> None:
    """vectors/contracts.json: calldata made by another library."""
    vectors = json.loads((ROOT / "vectors" / "contracts.json").read_text())["calldata"]
    assert len(vectors) > 10
    names = {
        "ledger": abi.LEDGER_MANAGER,
        "inference": abi.INFERENCE_SERVING,
        "fineTuning": abi.FINE_TUNING_SERVING,
    }
    for label, entry in vectors.items():
        where, _, call = label.partition(".")
        contracts = [names[where]] if where in names else abi.CONTRACTS
        found = [abi.decode_call(contract, entry["data"]) for contract in contracts]
        decoded = next(f for f in found if f is not None)
        assert call.startswith(decoded[0]), label
        contract = next(c for c, f in zip(contracts, found, strict=True) if f is not None)
        assert abi.encode_call(contract, decoded[0], *decoded[1].values()) == entry["data"]


def test_selectors_are_those_of_the_recorded_contracts() -> None:
    if not SHARED.exists():
        pytest.skip("../shared/abi is absent: recorded selectors are not compared")
    recorded = json.loads(SHARED.read_text())
    for contract in abi.CONTRACTS:
        theirs = {f["signature"]: f["selector"] for f in recorded[contract]["functions"]}
        ours = {f.signature: f.selector for f in abi.functions(contract).values()}
        assert theirs.items() <= ours.items()


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AbiError):
        abi.encode_call(abi.LEDGER_MANAGER, "refund", -1)
    with pytest.raises(AbiError):
        abi.encode_call(abi.LEDGER_MANAGER, "refund")
    with pytest.raises(AbiError):
        abi.encode_call(abi.LEDGER_MANAGER, "depositFundFor", "0x12")
    with pytest.raises(KeyError):
        abi.encode_call(abi.LEDGER_MANAGER, "mint", 1)


def test_strings_of_strangers_become_storable_text() -> None:
    assert abi.printable(b"a\0b\xff\xf0\x9f\x98\x80") == "a\ufffdb\ufffd\U0001f600"
    raw = "20".zfill(64) + "02".zfill(64) + "00ff".ljust(64, "0")
    assert abi.decode_arguments((Argument("x", "string"),), bytes.fromhex(raw)) == ["\ufffd\ufffd"]
