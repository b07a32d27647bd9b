"""What Intel's PCS and NVIDIA's RIM, OCSP and NRAS answer, from one seed's authorities."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from devnet.attestation import OCSP_PATH
from devnet.attestation.vendors import ISSUER, IntelServices, NvidiaServices
from provider.tee.development import nvidia, pki
from provider.tee.development.intel import FMSPC

_SIGNATURE_BYTES = 96
_FIRST_BLOCK = 45  # of a measurement record: behind the request and the response's header
_BLOCK_HEAD, _BLOCK_BYTES = 7, 55
_MAX_GPUS = 16


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def anchors_document(intel: IntelServices, nvidia: NvidiaServices) -> dict[str, str]:
    """What vouches for everything that these vendors sign, for ATTESTATION_ANCHORS."""
    roots = {"intel": intel.root, "nvidia": nvidia.root, "rim": nvidia.rim_root}
    return {
        **{name: base64.b64encode(pki.der(root)).decode() for name, root in roots.items()},
        "nras_issuer": ISSUER,
    }


class Services:
    """All four services of one seed."""

    def __init__(self, seed: bytes) -> None:
        self.intel, self.nvidia = IntelServices(seed), NvidiaServices(seed)
        self._manifests = self.nvidia.manifests()

    def anchors(self) -> dict[str, str]:
        """The document of ATTESTATION_ANCHORS (interfaces.md 1)."""
        return anchors_document(self.intel, self.nvidia)

    def answer(self, method: str, target: str, body: bytes, now: int) -> Reply:
        """The reply to one request at `now` (unix seconds)."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if method == "POST" and parts.path == OCSP_PATH:
            return self._revocation(body, now)
        if method == "POST" and parts.path == "/v3/attest/gpu":
            return self._tokens(body, now)
        if method != "GET":
            return _problem(404, "no such service")
        if parts.path.startswith("/v1/rim/"):
            return self._manifest(parts.path.removeprefix("/v1/rim/"))
        if parts.path == "/.well-known/jwks.json":
            return _json(self.nvidia.key_set())
        return self._collateral(parts.path, query, now)

    def _collateral(self, path: str, query: Mapping[str, str], now: int) -> Reply:
        """PCS v4: bodies with their issuer chains, URL-encoded, in headers (attestation.md 5)."""
        given = self.intel.collateral(now)
        if path == "/tdx/certification/v4/tcb":
            if query.get("fmspc", "").upper() != FMSPC.hex().upper():
                return _problem(404, "no TCB information for this FMSPC")
            return _signed(given, "tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain")
        if path == "/tdx/certification/v4/qe/identity":
            chain = "SGX-Enclave-Identity-Issuer-Chain"
            return _signed(given, "qe_identity", "enclaveIdentity", chain)
        if path == "/sgx/certification/v4/pckcrl":
            if query.get("ca") != "platform":
                return _problem(404, "no such CA")
            chain = quote(given["pck_crl_issuer_chain"])
            return Reply(
                200,
                bytes.fromhex(given["pck_crl"]),
                "application/pkix-crl",
                {"SGX-PCK-CRL-Issuer-Chain": chain},
            )
        if path == "/sgx/certification/v4/rootcacrl":  # a cache's path, and its form: hex
            return Reply(200, given["root_ca_crl"].encode(), "text/plain")
        return _problem(404, "no such service")

    def _manifest(self, id: str) -> Reply:
        xml = self._manifests.get(id)
        if xml is None:
            return _problem(404, "RIM not found")
        return _json({"id": id, "rim": base64.b64encode(xml).decode()})

    def _revocation(self, body: bytes, now: int) -> Reply:
        """Nothing is revoked; about a leaf the answer is "unauthorized", as NVIDIA's is (9.4)."""
        kind = "application/ocsp-response"
        try:
            asked = ocsp.load_der_ocsp_request(body)
        except ValueError:
            refusal = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
            return Reply(200, _refused(refusal), kind)
        issuers = (self.nvidia.root, self.nvidia.identity, self.nvidia.provisioner)
        for number, issuer in enumerate(issuers):
            if asked.issuer_key_hash == _key_hash(issuer.certificate, asked.hash_algorithm):
                answer = self.nvidia.good(issuer, number, asked, now)
                return Reply(200, answer, kind)
        return Reply(200, _refused(ocsp.OCSPResponseStatus.UNAUTHORIZED), kind)

    def _tokens(self, body: bytes, now: int) -> Reply:
        """NRAS v3: tokens whose result is whether every GPU's evidence holds."""
        try:
            given = json.loads(body)
            nonce, entries = bytes.fromhex(given["nonce"]), given["evidence_list"]
            if len(nonce) != 32 or not 0 < len(entries) <= _MAX_GPUS:
                raise ValueError("nonce or number of GPUs")
            right = all(self._holds(entry, nonce) for entry in entries)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return _problem(400, "Invalid request: evidence cannot be read")
        return _json(self.nvidia.tokens(nonce, now, len(entries), right))

    def _holds(self, entry: Mapping[str, str], nonce: bytes) -> bool:
        """Chain, signature, nonce and golden measurements of one GPU."""
        chain = x509.load_pem_x509_certificates(base64.b64decode(entry["certificate"]))
        evidence = base64.b64decode(entry["evidence"])
        signed, signature = evidence[:-_SIGNATURE_BYTES], evidence[-_SIGNATURE_BYTES:]
        key = chain[0].public_key()
        if chain[-1] != self.nvidia.root.certificate or not isinstance(
            key, ec.EllipticCurvePublicKey
        ):
            return False
        half = _SIGNATURE_BYTES // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        try:
            for child, parent in pairwise(chain):
                child.verify_directly_issued_by(parent)
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
        except (InvalidSignature, ValueError, TypeError):
            return False
        values = [
            evidence[start + _BLOCK_HEAD : start + _BLOCK_BYTES]
            for start in range(
                _FIRST_BLOCK, _FIRST_BLOCK + nvidia.MEASUREMENTS * _BLOCK_BYTES, _BLOCK_BYTES
            )
        ]
        golden = [nvidia.golden(index) for index in range(nvidia.MEASUREMENTS)]
        return evidence[4:36] == nonce and values == golden


def _signed(given: Mapping[str, str], name: str, member: str, header: str) -> Reply:
    """The exact bytes that were signed, inside an envelope."""
    body = f'{{"{member}":{given[name]},"signature":"{given[f"{name}_signature"]}"}}'
    return Reply(200, body.encode(), headers={header: quote(given[f"{name}_issuer_chain"])})


def _refused(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


def _key_hash(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bytes:
    """Of the public key's bits, as a CertID names an issuer (RFC 6960 4.1.1)."""
    key = certificate.public_key()
    digest = hashes.Hash(algorithm)
    digest.update(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    return digest.finalize()


def _json(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode())


def _problem(status: int, text: str) -> Reply:
    return _json({"error": text}, status)
