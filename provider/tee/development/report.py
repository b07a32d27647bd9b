"""Whole attestation answers of a development broker and of the model behind it
(attestation.md 14).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from protocol import quotes
from provider.tee.development.intel import Intel
from provider.tee.development.nvidia import Nvidia

_DIGEST_BYTES = 48
_REPORT_DATA_BYTES = 64
_BOOT_EVENT = 0x80000009
_COMPOSE = {
    "manifest_version": 2,
    "name": "DEVELOPMENT ONLY",
    "runner": "docker-compose",
    "docker_compose_file": "services:\n  broker:\n    image: ghcr.io/example/broker@sha256:"
    + "ab" * 32
    + "\n",
}
_OS_IMAGE = "33" * 32
_BOOT = (("firmware", 0), ("acpi", 0), ("kernel", 1), ("cmdline", 2), ("initrd", 2))


@dataclass(frozen=True)
class Machine:
    """One broker's TD: who signs, what it runs, and what is odd about it.

    `encryption_key` (32 bytes) selects the v1 layout of report_data, else the legacy one.
    `fields` override fields of the quote's body. `events` are (name, payload hex), written by the
    app after its boot. `fresh`: signatures differ at each call, as hardware's do.
    """

    address: str
    encryption_key: bytes | None = None
    app_compose: str = json.dumps(_COMPOSE)
    gpus: int = 1
    events: Sequence[tuple[str, str]] = ()
    fields: Mapping[str, bytes] = field(default_factory=dict)
    wrong_measurement: int | None = None
    fresh: bool = False

    @property
    def report_data(self) -> bytes:
        """What the broker hands to the quote: 42 or 64 bytes."""
        if self.encryption_key is None:
            return self.address.encode()
        signer = bytes.fromhex(self.address.removeprefix("0x"))
        return self.encryption_key + signer + (1).to_bytes(4, "big") + bytes(8)

    @property
    def gpu_nonce(self) -> bytes:
        """The layout's convention: static per key (attestation.md 8)."""
        return keccak(self.report_data)


def report(intel: Intel, nvidia: Nvidia, machine: Machine) -> dict[str, Any]:
    """The JSON object of the broker's own TD: `GET /v1/quote`, legacy or v1 layout."""
    events, registers = _boot(machine)
    data = machine.report_data.ljust(_REPORT_DATA_BYTES, b"\0")
    answer = {
        "quote": _quote(intel, machine, registers, data).hex(),
        "event_log": json.dumps(events),
        "report_data": base64.b64encode(data).decode(),
        "tcb_info": json.dumps({"app_compose": machine.app_compose}),
        "vm_config": json.dumps(_vm_config(machine)),
    }
    if machine.gpus:
        answer["nvidia_payload"] = _gpus(nvidia, machine, machine.gpu_nonce)
    return answer


def model_report(intel: Intel, nvidia: Nvidia, machine: Machine, nonce: bytes) -> dict[str, Any]:
    """The JSON object of a model's TD, made for `nonce` (32 bytes): provider-protocol.md 4.4."""
    events, registers = _boot(machine)
    address = bytes.fromhex(machine.address.removeprefix("0x"))
    quote = _quote(intel, machine, registers, address.ljust(32, b"\0") + nonce).hex()
    answer: dict[str, Any] = {
        "signing_address": machine.address,
        "signing_algo": "ecdsa",
        "request_nonce": nonce.hex(),
        "intel_quote": quote,
        "quote": quote,
        "event_log": events,
        "info": {"tcb_info": {"app_compose": machine.app_compose}},
        "vm_config": _vm_config(machine),
    }
    if machine.gpus:
        answer["nvidia_payload"] = _gpus(nvidia, machine, nonce)
    return answer


def _quote(intel: Intel, machine: Machine, registers: Sequence[bytes], data: bytes) -> bytes:
    body = {
        "mr_config_id": b"\x01" + hashlib.sha256(machine.app_compose.encode()).digest(),
        "report_data": data,
        **{f"rtmr{i}": register for i, register in enumerate(registers)},
        **machine.fields,
    }
    return intel.quote(body, fresh=machine.fresh)


def _vm_config(machine: Machine) -> dict[str, Any]:
    return {"spec_version": 1, "os_image_hash": _OS_IMAGE, "num_gpus": machine.gpus}


def _gpus(nvidia: Nvidia, machine: Machine, nonce: bytes) -> str:
    return json.dumps(
        nvidia.payload(nonce, machine.gpus, machine.wrong_measurement, fresh=machine.fresh)
    )


def _boot(machine: Machine) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The event log, and the registers that it replays to."""
    compose_hash = hashlib.sha256(machine.app_compose.encode()).hexdigest()
    provider = json.dumps({"name": "kms", "id": "DEVELOPMENT ONLY"}).encode().hex()
    runtime = [
        ("system-preparing", ""),
        ("app-id", "11" * 20),
        ("compose-hash", compose_hash),
        ("instance-id", "22" * 20),
        ("boot-mr-done", ""),
        ("os-image-hash", _OS_IMAGE),
        ("key-provider", provider),
        ("system-ready", ""),
        *machine.events,
    ]
    registers, events = [bytes(_DIGEST_BYTES) for _ in range(4)], list[dict[str, Any]]()

    def extend(register: int, kind: int, digest: bytes, name: str, payload: str) -> None:
        registers[register] = quotes.extend(registers[register], digest)
        events.append(
            {
                "imr": register,
                "event_type": kind,
                "digest": digest.hex(),
                "event": name,
                "event_payload": payload,
            }
        )

    for name, register in _BOOT:
        digest = hashlib.sha384(f"development {name}".encode()).digest()
        extend(register, _BOOT_EVENT, digest, "", "")
    for name, payload in runtime:
        digest = quotes.runtime_digest(name, bytes.fromhex(payload))
        extend(quotes.RUNTIME_REGISTER, quotes.RUNTIME_EVENT, digest, name, payload)
    return events, registers
