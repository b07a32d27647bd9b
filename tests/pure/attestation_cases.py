"""The shipped attestation vectors as inputs of the engine (vectors/attestation/README.md)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.engine import anchors, reports
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import Report

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "attestation"
DEV_ISSUER = "https://nras.dev.invalid"


@dataclass(frozen=True)
class Case:
    """One folder of the vectors, named like "tampered/q-empty"."""

    name: str

    @property
    def folder(self) -> Path:
        return VECTORS / self.name

    @cached_property
    def fields(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "case.json").read_text()))

    @property
    def evidence(self) -> Evidence:
        kind = self.fields.get("kind", "report")
        if kind == "gpu":
            chain = (self.folder / "chain.pem").read_bytes()
            return Evidence(kind, (self.folder / "evidence.bin").read_bytes(), chain)
        return Evidence(kind, self.report_file.read_bytes())

    @property
    def report_file(self) -> Path:
        kind = str(self.fields.get("kind", "report"))
        names: dict[str, str] = {
            "gpu": "evidence.bin",
            "gpu-payload": self.fields.get("payload", "payload.json"),
        }
        return self.folder / names.get(kind, "report.json")

    def context(self) -> Context:
        case = self.fields
        ocsp = self._json("ocsp") or []
        collateral = case.get("collateral")
        return Context(
            now=case["now"],
            anchors=development_anchors() if case.get("dev") else anchors.VENDOR,
            collateral=json.loads((VECTORS / collateral).read_text()) if collateral else None,
            rims=self._rims(),
            ocsp=[bytes.fromhex(answer) for answer in ocsp],
            nras=self._json("nras"),
            jwks=self._json("jwks"),
            onchain_signer=case.get("onchain"),
            acknowledged=case.get("acknowledged"),
            nonce=case.get("nonce"),
            tls_fingerprint=case.get("tls_live"),
            body_signature=case.get("body_sig"),
        )

    def judge(self, **changes: Any) -> Report:
        return reports.judge(self.evidence, replace(self.context(), **changes))

    def rim_files(self) -> dict[str, Path] | None:
        """Manifests by id, None where the case has none."""
        override = self.fields.get("dev_rims_override")
        if override:
            return {name: self.folder / file for name, file in override.items()}
        if not self.fields.get("rims"):
            return None
        folder = VECTORS / ("dev/rims" if self.fields.get("dev") else "rims")
        return {path.stem: path for path in folder.glob("*.xml")}

    def _rims(self) -> dict[str, bytes] | None:
        files = self.rim_files()
        return None if files is None else {name: path.read_bytes() for name, path in files.items()}

    def _json(self, key: str) -> Any:
        name = self.fields.get(key)
        return json.loads((self.folder / name).read_text()) if name else None


def development_roots() -> dict[str, bytes]:
    """DER of the three roots that the `dev` cases chain up to."""
    trust = VECTORS / "dev" / "trust"
    found = {"intel": (trust / "intel_root.der").read_bytes()}
    for name in ("nvidia", "rim"):
        pem = (trust / f"{name}_root.pem").read_bytes()
        found[name] = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return found


def development_anchors() -> anchors.Anchors:
    document = {name: base64.b64encode(der).decode() for name, der in development_roots().items()}
    return anchors.load(json.dumps({**document, "nras_issuer": DEV_ISSUER}).encode())


def names() -> list[str]:
    """Every shipped case; none where the vectors lie elsewhere."""
    return sorted(str(path.parent.relative_to(VECTORS)) for path in VECTORS.glob("*/*/case.json"))
