"""Our contracts' ABIs, from the checked-in artifacts: calldata, results, events and errors.

Structs decode to dicts by field name, addresses are checksummed, integers are Python ints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from protocol.addresses import checksum

ARTIFACTS = Path(__file__).resolve().parent.parent / "contracts" / "artifacts"
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


@cache
def _digest(signature: str) -> bytes:
    return keccak(text=signature)


@dataclass(frozen=True, slots=True)
class Param:
    """One input, output or struct field; `parts` are the fields of a tuple or of its elements."""

    name: str
    type: str
    indexed: bool
    parts: tuple[Param, ...]

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Param:
        parts = tuple(cls.parse(part) for part in entry.get("components", ()))
        kind = str(entry["type"])
        if kind.startswith("tuple"):
            kind = f"({','.join(part.type for part in parts)}){kind[5:]}"
        return cls(str(entry["name"]), kind, bool(entry.get("indexed", False)), parts)

    def to_python(self, value: Any) -> Any:
        if self.type.endswith("[]"):
            element = Param(self.name, self.type[:-2], False, self.parts)
            return [element.to_python(item) for item in value]
        if self.parts:
            return {p.name: p.to_python(v) for p, v in zip(self.parts, value, strict=True)}
        return checksum(value) if self.type == "address" else value

    def to_abi(self, value: Any) -> Any:
        """Accepts a struct as a dict by field name or as a tuple in ABI order."""
        if self.type.endswith("[]"):
            element = Param(self.name, self.type[:-2], False, self.parts)
            return [element.to_abi(item) for item in value]
        if self.parts:
            fields = [value[p.name] for p in self.parts] if isinstance(value, Mapping) else value
            return tuple(p.to_abi(v) for p, v in zip(self.parts, fields, strict=True))
        return value


def _types(params: Sequence[Param]) -> list[str]:
    return [param.type for param in params]


def _signature(name: str, params: Sequence[Param]) -> str:
    return f"{name}({','.join(_types(params))})"


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]
    mutability: str

    @property
    def signature(self) -> str:
        return _signature(self.name, self.inputs)

    @property
    def selector(self) -> bytes:
        return _digest(self.signature)[:4]

    def encode(self, *args: Any) -> bytes:
        values = [p.to_abi(value) for p, value in zip(self.inputs, args, strict=True)]
        return self.selector + encode(_types(self.inputs), values)

    def decode(self, data: bytes) -> Any:
        """None, the one result, or a tuple of results."""
        values = decode(_types(self.outputs), data)
        results = tuple(p.to_python(v) for p, v in zip(self.outputs, values, strict=True))
        return results[0] if len(results) == 1 else results or None


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    inputs: tuple[Param, ...]

    @property
    def signature(self) -> str:
        return _signature(self.name, self.inputs)

    @property
    def topic(self) -> str:
        return "0x" + keccak(text=self.signature).hex()

    def decode(self, topics: Sequence[str], data: bytes) -> dict[str, Any]:
        indexed = [param for param in self.inputs if param.indexed]
        plain = [param for param in self.inputs if not param.indexed]
        values = dict(zip((p.name for p in plain), decode(_types(plain), data), strict=True))
        for param, topic in zip(indexed, topics[1:], strict=True):
            values[param.name] = decode([param.type], bytes.fromhex(topic[2:]))[0]
        return {p.name: p.to_python(values[p.name]) for p in self.inputs}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    functions: dict[str, Function]
    events: dict[str, Event]
    errors: dict[str, tuple[Param, ...]]
    constructor: tuple[Param, ...]

    def creation_code(self, *args: Any) -> bytes:
        values = [p.to_abi(value) for p, value in zip(self.constructor, args, strict=True)]
        return self.bytecode + encode(_types(self.constructor), values)


def _params(entry: Mapping[str, Any], key: str) -> tuple[Param, ...]:
    return tuple(Param.parse(param) for param in entry.get(key, ()))


@cache
def load(name: str) -> Artifact:
    """The artifact `name`; raises FileNotFoundError for an unknown one."""
    raw = orjson.loads((ARTIFACTS / f"{name}.json").read_bytes())
    of = {kind: [e for e in raw["abi"] if e["type"] == kind] for kind in ("function", "event")}
    errors = [e for e in raw["abi"] if e["type"] == "error"]
    constructors = [e for e in raw["abi"] if e["type"] == "constructor"]
    events = [Event(e["name"], _params(e, "inputs")) for e in of["event"]]
    return Artifact(
        name=name,
        abi=raw["abi"],
        bytecode=bytes.fromhex(raw["bytecode"][2:]),
        functions={
            e["name"]: Function(
                e["name"], _params(e, "inputs"), _params(e, "outputs"), e["stateMutability"]
            )
            for e in of["function"]
        },
        events={event.topic: event for event in events},
        errors={_signature(e["name"], _params(e, "inputs")): _params(e, "inputs") for e in errors},
        constructor=_params(constructors[0], "inputs") if constructors else (),
    )


@cache
def _errors_by_selector() -> dict[bytes, tuple[str, tuple[Param, ...]]]:
    """The errors of all our contracts together: the ledger lets errors of serving contracts
    through. Equal selectors mean equal signatures."""
    found: dict[bytes, tuple[str, tuple[Param, ...]]] = {
        keccak(text="Error(string)")[:4]: ("Error", (Param("reason", "string", False, ()),)),
        keccak(text="Panic(uint256)")[:4]: ("Panic", (Param("code", "uint256", False, ()),)),
    }
    for name in NAMES:
        for signature, params in load(name).errors.items():
            found[keccak(text=signature)[:4]] = (signature.partition("(")[0], params)
    return found


def decode_error(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of a revert; an unknown one is ("0x" + its hex, ())."""
    known = _errors_by_selector().get(data[:4])
    if known is None:
        return "0x" + data.hex(), ()
    name, params = known
    values = decode(_types(params), data[4:])
    return name, tuple(p.to_python(v) for p, v in zip(params, values, strict=True))
