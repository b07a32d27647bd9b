"""Events: compiled decoders equal eth_abi on every shape, and our shapes equal the artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import abi, events
from protocol.abi import AbiError, Argument
from protocol.events import SHAPES, Shape

SHARED = Path(__file__).resolve().parents[3] / "shared" / "abi"
KINDS = {
    "LedgerManager": "ledger",
    "InferenceServing": "inference",
    "FineTuningServing": "fine-tuning",
}
WORDS = st.integers(0, 2**256 - 1)
TEXT = st.one_of(st.text(max_size=80), st.binary(max_size=40).map(lambda b: abi.printable(b)))


def values(argument: Argument) -> st.SearchStrategy[Any]:
    kind = argument.type
    if kind.endswith("[]"):
        return st.lists(values(Argument("", kind[:-2])), max_size=6)
    if argument.fields:
        return st.tuples(*(values(f) for f in argument.fields))
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    return {"bool": st.booleans(), "string": TEXT, "bytes": st.binary(max_size=70)}[kind]


@st.composite
def logs(draw: st.DrawFn, shape: Shape) -> tuple[list[str], str, list[Any]]:
    """Topics and data of a well-formed log of `shape` as eth_abi writes it, and its values."""
    found = [draw(values(a)) for a in shape.arguments]
    topics = [shape.topic]
    for argument, value in zip(shape.arguments, found, strict=True):
        if argument.indexed:
            hashed = argument.type == "string"
            topics.append(
                abi.topic_of(value)
                if hashed
                else "0x" + abi.CODEC.encode([argument.type], [value]).hex()
            )
    plain = [(a, v) for a, v in zip(shape.arguments, found, strict=True) if not a.indexed]
    data = abi.CODEC.encode([a.type for a, _ in plain], [v for _, v in plain])
    return topics, "0x" + data.hex(), found


def expected(argument: Argument, value: Any, topic: str) -> Any:
    if argument.indexed and argument.type == "string":
        return topic
    if argument.type == "string":
        return abi.printable(value.encode())
    if argument.fields:
        return {f.name: expected(f, v, "") for f, v in zip(argument.fields, value, strict=True)}
    return argument.plain(value)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s.signature}/{s.topic_count}")
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_compiled_decoder_equals_eth_abi(shape: Shape, data: st.DataObject) -> None:
    topics, payload, found = data.draw(logs(shape))
    decoded = events.decode(shape.emitters[0], topics, payload)
    assert decoded is not None
    assert type(decoded) is shape.event
    remaining = iter(topics[1:])
    for argument, value, name in zip(shape.arguments, found, type(decoded).__slots__, strict=True):
        topic = next(remaining) if argument.indexed else ""
        assert getattr(decoded, name) == expected(argument, value, topic)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s.signature}/{s.topic_count}")
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_cut_off_data_is_refused(shape: Shape, data: st.DataObject) -> None:
    topics, payload, found = data.draw(logs(shape))
    if len(payload) == 2:
        return  # everything is in topics
    words = (len(payload) - 2) // 64
    tail = any(v in ("", b"", []) for v in found)
    cut = data.draw(st.integers(0, words - 1)) * 64 + 2
    try:
        decoded = events.decode(shape.emitters[0], topics, payload[:cut])
    except AbiError:
        return
    # Only padding or an empty tail may be missing; what is decoded must then still be right.
    assert tail or decoded == events.decode(shape.emitters[0], topics, payload)


@pytest.mark.parametrize("contract", KINDS)
def test_every_event_of_our_artifacts_has_its_shape(contract: str) -> None:
    known = {
        (s.topic, tuple((a.type, a.indexed) for a in s.arguments))
        for s in SHAPES
        if KINDS[contract] in s.emitters
    }
    declared = set()
    for entry in abi.entries(contract):
        if entry["type"] == "event":
            arguments = abi.arguments(entry["inputs"])
            signature = f"{entry['name']}({','.join(a.type for a in arguments)})"
            declared.add((abi.topic_of(signature), tuple((a.type, a.indexed) for a in arguments)))
    assert declared, "the artifact declares no events"
    assert declared <= known


def test_every_event_ever_deployed_has_its_shape() -> None:
    if not SHARED.exists():
        pytest.skip("../shared/abi is absent: event shapes of older deployments are not compared")
    for entry in json.loads((SHARED / "history_events.json").read_text()):
        kind = KINDS[entry["contract"]]
        key = (entry["topic0"], entry["topicCount"], kind)
        shapes = [s for s in SHAPES if (s.topic, s.topic_count) == key[:2] and kind in s.emitters]
        assert len(shapes) == 1, entry["signature"]
        assert shapes[0].signature == entry["signature"]


def test_unknown_topics_and_kinds_are_no_event() -> None:
    shape = next(s for s in SHAPES if s.event is events.BalanceUpdated)
    topics = [shape.topic, "0x" + "00" * 32, "0x" + "00" * 32]
    assert events.decode("ledger", topics, "0x" + "00" * 64) is None
    assert events.decode("inference", [*topics, topics[1]], "0x" + "00" * 64) is None
    assert events.decode("inference", [], "0x") is None


def test_hostile_words_are_refused() -> None:
    topic = next(s.topic for s in SHAPES if s.event is events.BalanceUpdated)
    dirty = "0x" + "ff" * 32
    with pytest.raises(AbiError):
        events.decode("inference", [topic, dirty, dirty], "0x" + "00" * 64)
    settled = next(s.topic for s in SHAPES if s.event is events.TEESettlementResult)
    user = "0x" + "00" * 32
    with pytest.raises(AbiError):  # a uint8 that is not one
        events.decode("inference", [settled, user], "0x" + "ff" * 32 + "00" * 32)


def test_strings_of_strangers_become_storable_text() -> None:
    topic = next(s.topic for s in SHAPES if s.event is events.LedgerInfoUpdated)
    raw = b"a\x00b\xffc"
    data = "0x" + ("20".zfill(64) + f"{len(raw):064x}" + raw.hex().ljust(64, "0"))
    decoded = events.decode("ledger", [topic, "0x" + "00" * 32], data)
    assert decoded is not None
    assert decoded.additional_info == "a\ufffdb\ufffdc"
