"""Development evidence with its context: a checkout without ../shared tests the engine with it."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from functools import cache, cached_property
from typing import Any

from attestation.engine import anchors, reports
from attestation.engine.evidence import Context
from attestation.engine.verdicts import Report
from devnet.attestation.services import anchors_document
from devnet.attestation.vendors import IntelServices, NvidiaServices, Tcb
from protocol import quotes
from protocol.digests import address_of_key
from provider.tee.development.report import Machine, report

NOW = 1_795_132_800
KEY = hashlib.sha256(b"development signer").digest()
ADDRESS = address_of_key(KEY)


class Lab:
    """Both vendors of one seed."""

    def __init__(self, seed: bytes) -> None:
        self.intel, self.nvidia = IntelServices(seed), NvidiaServices(seed)

    @property
    def anchors_document(self) -> dict[str, str]:
        return anchors_document(self.intel, self.nvidia)

    @property
    def anchors(self) -> anchors.Anchors:
        return anchors.load(json.dumps(self.anchors_document).encode())

    @cached_property
    def manifests(self) -> dict[str, bytes]:
        return self.nvidia.manifests()

    def body(self, machine: Machine) -> bytes:
        return json.dumps(report(self.intel, self.nvidia, machine)).encode()

    def context(self, machine: Machine, tcb: Tcb | None = None, **changes: Any) -> Context:
        """Everything that can be known about the machine; `changes` replace fields."""
        gpus = range(machine.gpus)
        given: dict[str, Any] = {
            "now": NOW,
            "anchors": self.anchors,
            "collateral": self.intel.collateral(NOW, tcb),
            "rims": self.manifests,
            "ocsp": [answer for n in gpus for answer in self.nvidia.ocsp(NOW, n)],
            "nras": self.nvidia.tokens(machine.gpu_nonce, NOW, machine.gpus),
            "jwks": self.nvidia.key_set(),
            "onchain_signer": machine.address,
            "acknowledged": True,
        }
        return Context(**{**given, **changes})

    def judge(self, machine: Machine, tcb: Tcb | None = None, **changes: Any) -> Report:
        return reports.verify(self.body(machine), self.context(machine, tcb, **changes))

    def tapp_body(self, compose: str, tamper: int | None = None) -> bytes:
        """A CryptoPilot report: CCEL instead of dstack's log. `tamper`: a byte of the log."""
        from attestation.engine.composefile import tapp_hash

        started = json.dumps({"app_id": "app", "compose_hash": tapp_hash(compose), "timestamp": 1})
        log, registers = ccel(
            [(1, b"firmware"), (2, b"kernel"), (3, b"cmdline")],
            [f"tapp.0g.com start_app {started}", "cryptpilot.alibabacloud.com load_config abc"],
        )
        if tamper is not None:
            log = log[:tamper] + bytes([log[tamper] ^ 1]) + log[tamper + 1 :]
        data = bytes.fromhex(ADDRESS[2:]).ljust(64, b"\0")
        fields = {f"rtmr{i}": value for i, value in enumerate(registers)} | {"report_data": data}
        evidence = {
            "quote": base64.b64encode(self.intel.quote(fields)).decode(),
            "cc_eventlog": base64.b64encode(log).decode(),
            "gpu_evidence": self.nvidia.payload(data[:32]),
        }
        encoded = base64.b64encode(json.dumps(evidence).encode()).decode()
        return json.dumps({"compose_content": compose, "evidence": encoded}).encode()


@cache
def lab() -> Lab:
    return Lab(b"attestation tests")


def ccel(boot: list[tuple[int, bytes]], records: list[str]) -> tuple[bytes, list[bytes]]:
    """A TCG crypto-agile log and the registers it replays to (attestation.md 7)."""
    header = b"Spec ID Event03\0" + bytes(16)
    log = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(header)) + header
    registers = [bytes(48) for _ in range(4)]
    events = [(register, 0x80000001, data, data) for register, data in boot]
    for record in records:
        text = record.encode()
        events.append((4, 6, b"LEAA" + struct.pack("<I", len(text)) + text, text))
    for register, kind, data, measured in events:
        digest = hashlib.sha384(measured).digest()
        log += struct.pack("<IIIH", register, kind, 1, 0xC) + digest
        log += struct.pack("<I", len(data)) + data
        registers[register - 1] = quotes.extend(registers[register - 1], digest)
    return log + b"\xff" * 64, registers


def failing(report: Report) -> set[str]:
    """Rows that fail, the foreign anchor's own aside."""
    return {r.id for r in report.checks if r.verdict == "fail"} - {"tdx.root"}


def word(report: Report, id: str) -> str:
    row = report.find(id)
    assert row is not None, id
    return row.verdict
