"""Our contracts' ABIs, from the checked-in artifacts: calldata, results, events and errors.

What has which type is said by `protocol.abi`; values are read by eth_abi alone, not by the site's
own decoder, which tests compare with them. Structs decode to dicts by field name, addresses are
checksummed, byte strings stay bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from protocol.abi import ARTIFACTS, Argument, arguments, signature_of, topic_of
from protocol.addresses import checksum

NAMES = (
    "LedgerManager",
    "LedgerManagerTestnet",
    "InferenceServing",
    "FineTuningServing",
    "UpgradeableBeacon",
    "BeaconProxy",
    "Flow",
    "Puppet",
)
Arguments = tuple[Argument, ...]


@cache
def _digest(signature: str) -> bytes:
    return keccak(text=signature)


def _types(shape: Sequence[Argument]) -> list[str]:
    return [argument.type for argument in shape]


def _encoded(shape: Arguments, values: Sequence[Any]) -> bytes:
    return encode(_types(shape), [a.wire(v) for a, v in zip(shape, values, strict=True)])


def decoded(shape: Arguments, data: bytes) -> tuple[Any, ...]:
    """The values of ABI-encoded `data`."""
    return tuple(_python(a, v) for a, v in zip(shape, decode(_types(shape), data), strict=True))


def _python(shape: Argument, value: Any) -> Any:
    if shape.type.endswith("]"):
        element = Argument("", shape.type[: shape.type.rindex("[")], shape.fields)
        return [_python(element, item) for item in value]
    if shape.fields:
        return {f.name: _python(f, v) for f, v in zip(shape.fields, value, strict=True)}
    return checksum(value) if shape.type == "address" else value


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    inputs: Arguments
    outputs: Arguments
    mutability: str

    @property
    def signature(self) -> str:
        return signature_of(self.name, self.inputs)

    @property
    def selector(self) -> bytes:
        return _digest(self.signature)[:4]

    def encode(self, *args: Any) -> bytes:
        return self.selector + _encoded(self.inputs, args)

    def decode(self, data: bytes) -> Any:
        """None, the one result, or a tuple of results."""
        results = decoded(self.outputs, data)
        return results[0] if len(results) == 1 else results or None


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    inputs: Arguments

    @property
    def signature(self) -> str:
        return signature_of(self.name, self.inputs)

    @property
    def topic(self) -> str:
        return topic_of(self.signature)

    def decode(self, topics: Sequence[str], data: bytes) -> dict[str, Any]:
        indexed = [a for a in self.inputs if a.indexed]
        plain = tuple(a for a in self.inputs if not a.indexed)
        values = dict(zip((a.name for a in plain), decoded(plain, data), strict=True))
        for argument, topic in zip(indexed, topics[1:], strict=True):
            (values[argument.name],) = decoded((argument,), bytes.fromhex(topic[2:]))
        return {a.name: values[a.name] for a in self.inputs}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    functions: dict[str, Function]
    events: dict[str, Event]
    errors: dict[str, Arguments]
    constructor: Arguments

    def creation_code(self, *args: Any) -> bytes:
        return self.bytecode + _encoded(self.constructor, args)


@cache
def load(name: str) -> Artifact:
    """The artifact `name`; raises FileNotFoundError for an unknown one."""
    raw = orjson.loads((ARTIFACTS / f"{name}.json").read_bytes())

    def of(kind: str) -> list[dict[str, Any]]:
        return [entry for entry in raw["abi"] if entry["type"] == kind]

    events = [Event(e["name"], arguments(e["inputs"])) for e in of("event")]
    errors = [(e["name"], arguments(e["inputs"])) for e in of("error")]
    constructor = next(iter(of("constructor")), {"inputs": ()})
    return Artifact(
        name=name,
        abi=raw["abi"],
        bytecode=bytes.fromhex(raw["bytecode"][2:]),
        functions={
            e["name"]: Function(
                e["name"], arguments(e["inputs"]), arguments(e["outputs"]), e["stateMutability"]
            )
            for e in of("function")
        },
        events={event.topic: event for event in events},
        errors={signature_of(error, shape): shape for error, shape in errors},
        constructor=arguments(constructor["inputs"]),
    )


@cache
def _errors_by_selector() -> dict[bytes, tuple[str, Arguments]]:
    """The errors of all our contracts together: the ledger lets errors of serving contracts
    through. Equal selectors mean equal signatures."""
    found: dict[bytes, tuple[str, Arguments]] = {
        _digest("Error(string)")[:4]: ("Error", (Argument("reason", "string"),)),
        _digest("Panic(uint256)")[:4]: ("Panic", (Argument("code", "uint256"),)),
    }
    for name in NAMES:
        for signature, shape in load(name).errors.items():
            found[_digest(signature)[:4]] = (signature.partition("(")[0], shape)
    return found


def decode_error(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of a revert; an unknown one is ("0x" + its hex, ())."""
    known = _errors_by_selector().get(data[:4])
    if known is None:
        return "0x" + data.hex(), ()
    name, shape = known
    return name, decoded(shape, data[4:])
