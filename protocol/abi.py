"""Speaking the contracts' ABI: calldata, results, reverts of all three (contracts.md 3-5).

Everything is read once from our own compiled artifacts (`contracts/artifacts`). Strings on chain
are any bytes; here they come out as text that PostgreSQL and HTML can hold: what is not UTF-8, and
NUL, becomes U+FFFD. Addresses come out in EIP-55 form, hashes and byte strings as 0x-hex, structs
as dicts by field name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from eth_abi import decoding, encoding
from eth_abi.codec import ABICodec
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import ABIRegistry, BaseEquals
from eth_abi.registry import registry as default_registry
from eth_utils.crypto import keccak

from protocol import unpack
from protocol.addresses import checksum as checksum

LEDGER_MANAGER = "LedgerManager"
INFERENCE_SERVING = "InferenceServing"
FINE_TUNING_SERVING = "FineTuningServing"
CONTRACTS = (LEDGER_MANAGER, INFERENCE_SERVING, FINE_TUNING_SERVING)
ARTIFACTS = Path(__file__).resolve().parent.parent / "contracts" / "artifacts"
ZERO_ADDRESS = "0x" + "00" * 20


class AbiError(ValueError):
    """The bytes do not have the shape the ABI promises."""


def printable(raw: bytes) -> str:
    """Text of a chain string: invalid UTF-8 and NUL become U+FFFD, everything else is kept."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


class _TextDecoder(decoding.StringDecoder):
    """Decodes a `string` that a stranger wrote: never fails on its content."""

    @staticmethod
    def decoder_fn(data: bytes, handle_string_errors: str = "replace") -> str:
        return printable(data)


def _codec() -> ABICodec:
    registry: ABIRegistry = default_registry.copy()  # type: ignore[no-untyped-call]
    registry.unregister("string")
    registry.register(
        BaseEquals("string"),  # type: ignore[no-untyped-call]
        encoding.TextStringEncoder,
        _TextDecoder,
        label="string",
    )
    return ABICodec(registry)


CODEC = _codec()
#: ERC-7201 base slot plus the offset of the mapping provider → stake, for which there is no view
#: (contracts.md 2, 4.2).
_STAKES = {
    INFERENCE_SERVING: 0xDFD123095CDEDB1CECBC229B30F7CF8745FB3D3951645AC4A8FA4C0895F89500 + 11,
    FINE_TUNING_SERVING: 0x5DCAAA00D1D3FAE8CD5D66ACECA789AEC54970049AC35CB62A7ADEFCA50A6800 + 12,
}


def stake_slot(contract: str, provider: str) -> str:
    """Where a serving contract stores what a provider staked: 0x-hex of a storage slot."""
    return "0x" + keccak(CODEC.encode(["address", "uint256"], [provider, _STAKES[contract]])).hex()


@dataclass(frozen=True, slots=True)
class Argument:
    """One ABI parameter: name, canonical type (tuples expanded) and, for structs, its fields."""

    name: str
    type: str
    fields: tuple[Argument, ...] = ()
    indexed: bool = False

    def plain(self, value: Any) -> Any:
        """The decoded `value` in this module's form (EIP-55, 0x-hex, dicts by name)."""
        if self.type.endswith("]"):
            element = Argument("", self.type[: self.type.rindex("[")], self.fields)
            return [element.plain(item) for item in value]
        if self.fields:
            return {f.name: f.plain(v) for f, v in zip(self.fields, value, strict=True)}
        if self.type == "address":
            return checksum(value)
        if self.type.startswith("bytes"):
            return "0x" + bytes(value).hex()
        return value

    def wire(self, value: Any) -> Any:
        """`value` as eth_abi wants it: dicts become tuples, 0x-hex becomes bytes."""
        if self.type.endswith("]"):
            element = Argument("", self.type[: self.type.rindex("[")], self.fields)
            return [element.wire(item) for item in value]
        if self.fields:
            values = [value[f.name] for f in self.fields] if isinstance(value, Mapping) else value
            return tuple(f.wire(v) for f, v in zip(self.fields, values, strict=True))
        if self.type.startswith("bytes") and isinstance(value, str):
            return bytes.fromhex(value.removeprefix("0x"))
        return value


@dataclass(frozen=True, slots=True)
class Function:
    """One function of one contract."""

    name: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    selector: str

    @property
    def signature(self) -> str:
        return signature_of(self.name, self.inputs)


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """One custom error."""

    name: str
    inputs: tuple[Argument, ...]
    selector: str

    @property
    def signature(self) -> str:
        return signature_of(self.name, self.inputs)


def signature_of(name: str, arguments: Iterable[Argument]) -> str:
    """The canonical `name(type,…)`."""
    return f"{name}({','.join(a.type for a in arguments)})"


def selector_of(signature: str) -> str:
    """The 4-byte selector (0x-hex) of `name(type,…)`."""
    return "0x" + keccak(text=signature)[:4].hex()


def topic_of(signature: str) -> str:
    """The topic0 (0x-hex) of the canonical event signature `Name(type,…)`."""
    return "0x" + keccak(text=signature).hex()


@cache
def entries(contract: str) -> tuple[dict[str, Any], ...]:
    """The ABI of one of `CONTRACTS`, as in its artifact."""
    return tuple(json.loads((ARTIFACTS / f"{contract}.json").read_text())["abi"])


def _argument(raw: Mapping[str, Any]) -> Argument:
    fields = tuple(_argument(c) for c in raw.get("components", ()))
    kind = str(raw["type"])
    if fields:
        kind = "(" + ",".join(f.type for f in fields) + ")" + kind.removeprefix("tuple")
    return Argument(str(raw.get("name", "")), kind, fields, bool(raw.get("indexed", False)))


def arguments(raw: Iterable[Mapping[str, Any]]) -> tuple[Argument, ...]:
    """The parameters of an ABI entry's `inputs` or `outputs`."""
    return tuple(_argument(item) for item in raw)


@cache
def functions(contract: str) -> dict[str, Function]:
    """Every function of `contract`, by name (the three contracts overload none)."""
    found: dict[str, Function] = {}
    for entry in entries(contract):
        if entry["type"] != "function":
            continue
        inputs, outputs = arguments(entry["inputs"]), arguments(entry["outputs"])
        selector = selector_of(signature_of(entry["name"], inputs))
        function = Function(entry["name"], inputs, outputs, selector)
        if found.setdefault(function.name, function) is not function:
            raise AbiError(f"{contract}.{function.name} is overloaded")
    return found


@cache
def _by_selector(contract: str) -> dict[str, Function]:
    return {f.selector: f for f in functions(contract).values()}


@cache
def errors() -> dict[str, ErrorShape]:
    """Every error of the three contracts plus Solidity's own two, by selector.

    Names repeat across contracts with other arguments (contracts.md 11.19), selectors do not.
    """
    named = [
        ("Error", (Argument("message", "string"),)),
        ("Panic", (Argument("code", "uint256"),)),
        *(
            (entry["name"], arguments(entry["inputs"]))
            for contract in CONTRACTS
            for entry in entries(contract)
            if entry["type"] == "error"
        ),
    ]
    shapes = (
        ErrorShape(name, inputs, selector_of(signature_of(name, inputs))) for name, inputs in named
    )
    return {shape.selector: shape for shape in shapes}


def encode_call(contract: str, function: str, *args: Any) -> str:
    """Calldata (0x-hex) of `contract.function(*args)`; structs may be dicts, bytes may be 0x-hex.

    Raises KeyError for an unknown function and AbiError for arguments that do not fit.
    """
    shape = functions(contract)[function]
    try:
        values = [a.wire(v) for a, v in zip(shape.inputs, args, strict=True)]
        encoded = CODEC.encode([a.type for a in shape.inputs], values)
    except (EncodingError, ValueError, TypeError, KeyError) as error:
        raise AbiError(f"{contract}.{shape.signature}: {error}") from error
    return shape.selector + encoded.hex()


def decode_arguments(shape: tuple[Argument, ...], data: bytes) -> list[Any]:
    """The values of ABI-encoded `data`; AbiError when it does not decode."""
    try:
        values: list[Any] = _reader(shape)(data, 0)
    except (DecodingError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise AbiError(str(error)) from error
    return values


@cache
def _reader(shape: tuple[Argument, ...]) -> unpack.Reader:
    try:
        return unpack.reader(shape, printable)
    except unpack.Unsupported:
        return partial(_walk, shape)


def _walk(shape: tuple[Argument, ...], data: bytes, at: int) -> list[Any]:
    """The generic decoder, for types that `unpack` leaves out."""
    values = CODEC.decode([a.type for a in shape], data[at:])
    return [a.plain(v) for a, v in zip(shape, values, strict=True)]


def _bytes(data: str) -> bytes:
    try:
        return bytes.fromhex(data.removeprefix("0x"))
    except ValueError as error:
        raise AbiError(f"not hex: {data[:40]!r}") from error


def decode_result(contract: str, function: str, data: str) -> Any:
    """What `function` returned (0x-hex `data`): the value, or a list where it returns several."""
    values = decode_arguments(functions(contract)[function].outputs, _bytes(data))
    return values[0] if len(values) == 1 else values


def decode_call(
    contract: str, data: str, *, only: Collection[str] | None = None
) -> tuple[str, dict[str, Any]] | None:
    """`(function, arguments by name)` of calldata; None when it is no well-formed call.

    With `only` the arguments of other functions are not looked at, and come as {}.
    """
    shape = _by_selector(contract).get(data[:10].lower())
    if shape is None:
        return None
    if only is not None and shape.name not in only:
        return shape.name, {}
    return _named(shape, data)


def decode_error(data: str | None) -> tuple[str, dict[str, Any]] | None:
    """`(name, arguments by name)` of revert data (0x-hex) of any of the contracts.

    None for data that is empty, unknown or malformed. Selectors differ wherever a repeated name has
    other arguments, so one table serves every contract; `Error` and `Panic` are in it too.
    """
    shape = errors().get((data or "")[:10].lower())
    return None if shape is None or data is None else _named(shape, data)


def _named(shape: Function | ErrorShape, data: str) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of 0x-hex `data` behind its selector; None when they are malformed."""
    try:
        values = decode_arguments(shape.inputs, _bytes(data[10:]))
    except AbiError:
        return None
    return shape.name, {a.name: v for a, v in zip(shape.inputs, values, strict=True)}
