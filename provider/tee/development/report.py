"""A whole attestation answer of a development broker: `GET /v1/quote` (attestation.md 14)."""

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
    app after its boot.
    """

    address: str
    encryption_key: bytes | None = None
    app_compose: str = json.dumps(_COMPOSE)
    gpus: int = 1
    events: Sequence[tuple[str, str]] = ()
    fields: Mapping[str, bytes] = field(default_factory=dict)
    wrong_measurement: int | None = None

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
    """The JSON object that the broker answers."""
    events, registers = _boot(machine)
    compose_hash = hashlib.sha256(machine.app_compose.encode()).digest()
    data = machine.report_data.ljust(64, b"\0")
    body = {
        "mr_config_id": b"\x01" + compose_hash,
        "report_data": data,
        **{f"rtmr{i}": register for i, register in enumerate(registers)},
        **machine.fields,
    }
    answer = {
        "quote": intel.quote(body).hex(),
        "event_log": json.dumps(events),
        "report_data": base64.b64encode(data).decode(),
        "tcb_info": json.dumps({"app_compose": machine.app_compose}),
        "vm_config": json.dumps(
            {"spec_version": 1, "os_image_hash": _OS_IMAGE, "num_gpus": machine.gpus}
        ),
    }
    if machine.gpus:
        answer["nvidia_payload"] = json.dumps(
            nvidia.payload(machine.gpu_nonce, machine.gpus, machine.wrong_measurement)
        )
    return answer


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
