"""What the vendors' services add to the machines' evidence (provider/tee/development): collateral
of Intel; manifests, OCSP answers and tokens of NVIDIA; from the same seeds' authorities."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPRequest, OCSPResponseBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID
from lxml import etree

from provider.tee.development import pki
from provider.tee.development.intel import (
    CPU_SVN,
    FMSPC,
    OLD_CPU_SVN,
    PCE_SVN,
    QE_ATTRIBUTES,
    QE_PRODUCT,
    QE_SIGNER,
    QE_SVN,
    Intel,
)
from provider.tee.development.nvidia import (
    CHIP_SKU,
    DRIVER,
    MEASUREMENTS,
    PROJECT,
    PROJECT_SKU,
    VBIOS_TEXT,
    Nvidia,
    golden,
)

ISSUER = "https://nras.dev.invalid"
_KEY_ID = "dev-nras-1"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_SHA384 = "http://www.w3.org/2001/04/xmlenc#sha384"
_LEAST = "https://docs.nvidia.com/attestation/specs/latest/opaque-data.html"
#: Measurement indices that each manifest speaks of.
_INDICES = {"driver": range(16, 24), "vbios": range(8)}
_TCB_DATE, _OLD_TCB_DATE = "2025-08-13T00:00:00Z", "2024-03-13T00:00:00Z"
_OLD_ADVISORIES = ("INTEL-SA-01036", "INTEL-SA-01079")


@dataclass(frozen=True)
class Tcb:
    """What the collateral shall say of this platform."""

    status: str = "UpToDate"
    advisories: Sequence[str] = ()
    revoke_pck: bool = False
    fmspc: bytes = FMSPC


class IntelServices(Intel):
    """With the collateral service and its signer."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        key = pki.derive(seed, "intel tcb", ec.SECP256R1())
        self.tcb_signer = self.root.issue("SGX TCB Signing", key)

    def collateral(self, now: int, tcb: Tcb | None = None) -> dict[str, str]:
        """The document that dcap-qvl reads, issued a day before `now` for thirty days."""
        tcb = tcb or Tcb()
        info, identity = (
            json.dumps({**document, **_window(now)}, separators=(",", ":"))
            for document in (_tcb_info(tcb), _qe_identity())
        )
        signers = pki.pem(self.tcb_signer, self.root).decode()
        revoked = [self.pck.certificate] if tcb.revoke_pck else []
        return {
            "pck_crl_issuer_chain": pki.pem(self.platform, self.root).decode(),
            "root_ca_crl": _revocation_list(self.root, now).hex(),
            "pck_crl": _revocation_list(self.platform, now, revoked).hex(),
            "tcb_info_issuer_chain": signers,
            "tcb_info": info,
            "tcb_info_signature": self.tcb_signer.sign(info.encode()).hex(),
            "qe_identity_issuer_chain": signers,
            "qe_identity": identity,
            "qe_identity_signature": self.tcb_signer.sign(identity.encode()).hex(),
        }


class NvidiaServices(Nvidia):
    """With the authorities of manifests and tokens."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.rim_root = pki.root("RIM Root", self._key("rim root"), hashes.SHA384())
        self.rim_signer = self.rim_root.issue("RIM Signer", self._key("rim"))
        self._token_key = self._key("nras")

    def manifests(self, least: Mapping[int, int] | None = None) -> dict[str, bytes]:
        """{RIM id: signed XML} for driver and VBIOS. `least`: security versions that the driver's
        demands of opaque values, by their kind.
        """
        vbios = "_".join(
            (
                PROJECT,
                PROJECT_SKU,
                CHIP_SKU,
                VBIOS_TEXT.replace(".", ""),
            )
        )
        return {
            f"NV_GPU_DRIVER_GH100_{DRIVER}": self._manifest("driver", DRIVER, least or {}),
            f"NV_GPU_VBIOS_{vbios}": self._manifest("vbios", VBIOS_TEXT, {}),
        }

    def ocsp(self, now: int, number: int = 0, revoked: int | None = None) -> list[bytes]:
        """DER answers for the intermediates, by delegated responders; `revoked`: a chain index."""
        at, chain = datetime.fromtimestamp(now, UTC), self.chain(number)
        answers = []
        for index in range(1, len(chain) - 1):
            issuer, bad = chain[index + 1], index == revoked
            builder = ocsp.OCSPResponseBuilder().add_response(
                cert=chain[index].certificate,
                issuer=issuer.certificate,
                algorithm=hashes.SHA384(),
                cert_status=ocsp.OCSPCertStatus.REVOKED if bad else ocsp.OCSPCertStatus.GOOD,
                this_update=at - timedelta(hours=1),
                next_update=at + timedelta(hours=23),
                revocation_time=at - timedelta(days=1) if bad else None,
                revocation_reason=x509.ReasonFlags.key_compromise if bad else None,
            )
            answers.append(self._respond(builder, issuer, index))
        return answers

    def good(self, issuer: pki.Authority, number: int, asked: OCSPRequest, now: int) -> bytes:
        """DER answer that the certificate asked about, one of `issuer`'s, is not revoked."""
        at = datetime.fromtimestamp(now, UTC)
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=asked.issuer_name_hash,
            issuer_key_hash=asked.issuer_key_hash,
            serial_number=asked.serial_number,
            algorithm=asked.hash_algorithm,
            cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=at - timedelta(hours=1),
            next_update=at + timedelta(hours=23),
            revocation_time=None,
            revocation_reason=None,
        )
        return self._respond(builder, issuer, number)

    def _respond(self, builder: OCSPResponseBuilder, issuer: pki.Authority, number: int) -> bytes:
        """Signed by a delegated responder of the issuer."""
        responder = issuer.issue(
            "OCSP responder",
            self._key(f"ocsp {number}"),
            extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])],
        )
        answer = (
            builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
            .certificates([responder.certificate])
            .sign(responder.key, hashes.SHA384())
        )
        return answer.public_bytes(Encoding.DER)

    def key_set(self) -> dict[str, Any]:
        """The JWKS that the tokens verify with."""
        numbers = self._token_key.public_key().public_numbers()
        x, y = (
            base64.urlsafe_b64encode(n.to_bytes(48, "big")).rstrip(b"=").decode()
            for n in (numbers.x, numbers.y)
        )
        return {"keys": [{"kty": "EC", "crv": "P-384", "kid": _KEY_ID, "x": x, "y": y}]}

    def tokens(self, nonce: bytes, now: int, gpus: int = 1, ok: bool = True) -> list[Any]:
        """NVIDIA's detached token list, valid for an hour from `now`."""
        base = {"iss": ISSUER, "iat": now, "nbf": now, "exp": now + 3600, "eat_nonce": nonce.hex()}
        claims = {
            **base,
            "hwmodel": "GH100",
            "measres": "success" if ok else "fail",
            "dbgstat": "disabled",
            "secboot": True,
            "x-nvidia-gpu-driver-version": DRIVER,
            "x-nvidia-gpu-vbios-version": VBIOS_TEXT,
            "x-nvidia-gpu-attestation-report-signature-verified": True,
        }
        parts = {f"GPU-{n}": self._token({**claims, "ueid": str(n)}) for n in range(gpus)}
        digests = {
            name: ["DIGEST", ["SHA-256", hashlib.sha256(token.encode()).hexdigest()]]
            for name, token in parts.items()
        }
        overall = {
            **base,
            "sub": "NVIDIA-PLATFORM-ATTESTATION",
            "x-nvidia-ver": "2.0",
            "x-nvidia-overall-att-result": ok,
            "submods": digests,
        }
        return [["JWT", self._token(overall)], parts]

    def _token(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._token_key, "ES384", headers={"kid": _KEY_ID})

    def _manifest(self, kind: str, version: str, least: Mapping[int, int]) -> bytes:
        rows = "".join(
            f'<ns0:Resource type="Measurement" index="{i}" active="{i in _INDICES[kind]}" '
            f'alternatives="1" ns2:Hash0="{golden(i).hex()}" name="Measurement_{i}" size="48"/>'
            for i in range(MEASUREMENTS)
        )
        rows += "".join(
            f'<ns0:Resource type="Measurement" index="{0x1000 + kind}" active="True" '
            f'name="Opaque_{kind}" ns3:minSvn="{svn}"/>'
            for kind, svn in least.items()
        )
        document: Any = etree.fromstring(
            f'<SoftwareIdentity xmlns="{_SWID}" xmlns:ns0="{_SWID}" xmlns:ns2="{_SHA384}" '
            f'xmlns:ns3="{_LEAST}" '
            f'name="GH100" tagId="{pki.NOTICE}">'
            f'<ns0:Meta colloquialVersion="{version}" edition="GPU" product="GH100"/>'
            f"<ns0:Payload>{rows}</ns0:Payload></SoftwareIdentity>"
        )
        digest = hashlib.sha384(etree.tostring(document, method="c14n")).digest()
        document.append(etree.fromstring(self._signature(base64.b64encode(digest).decode())))
        signature = document[-1]
        signed = etree.tostring(signature[0], method="c14n")
        signature[1].text = base64.b64encode(self.rim_signer.sign(signed)).decode()
        return bytes(etree.tostring(document))

    def _signature(self, digest: str) -> str:
        certificates = "".join(
            f"<ds:X509Certificate>{base64.b64encode(pki.der(a)).decode()}</ds:X509Certificate>"
            for a in (self.rim_signer, self.rim_root)
        )
        transforms = "".join(
            f'<ds:Transform Algorithm="{a}"/>' for a in (f"{_DSIG}enveloped-signature", _C14N)
        )
        return (
            f'<ds:Signature xmlns:ds="{_DSIG}"><ds:SignedInfo>'
            f'<ds:CanonicalizationMethod Algorithm="{_C14N}"/>'
            f'<ds:SignatureMethod Algorithm="{_MORE}ecdsa-sha384"/>'
            f'<ds:Reference URI=""><ds:Transforms>{transforms}</ds:Transforms>'
            f'<ds:DigestMethod Algorithm="{_MORE}sha384"/>'
            f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
            "<ds:SignatureValue/><ds:KeyInfo><ds:X509Data>"
            f"{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
        )


def _window(now: int) -> dict[str, Any]:
    at = datetime.fromtimestamp(now, UTC)
    issued, until = (f"{at + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (-1, 29))
    return {
        "issueDate": issued,
        "nextUpdate": until,
        "tcbEvaluationDataNumber": 20,
    }


def _tcb_info(tcb: Tcb) -> dict[str, Any]:
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    return {
        "id": "TDX",
        "version": 3,
        "issueDate": "",
        "nextUpdate": "",
        "fmspc": tcb.fmspc.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 0,
        "tdxModule": module,
        "tdxModuleIdentities": [{"id": "TDX_01", **module, "tcbLevels": [_level(11)]}],
        "tcbLevels": [
            _platform_level(CPU_SVN, _TCB_DATE, tcb.status, tcb.advisories),
            _platform_level(OLD_CPU_SVN, _OLD_TCB_DATE, "OutOfDate", _OLD_ADVISORIES),
        ],
    }


def _platform_level(
    cpu_svn: bytes, date: str, status: str, advisories: Sequence[str]
) -> dict[str, Any]:
    level: dict[str, Any] = {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn} for svn in cpu_svn],
            "pcesvn": PCE_SVN,
            "tdxtcbcomponents": [{"svn": svn} for svn in bytes([5, 0, 4]) + bytes(13)],
        },
        "tcbDate": date,
        "tcbStatus": status,
    }
    if advisories:
        level["advisoryIDs"] = list(advisories)
    return level


def _qe_identity() -> dict[str, Any]:
    return {
        "id": "TD_QE",
        "version": 2,
        "issueDate": "",
        "nextUpdate": "",
        "tcbEvaluationDataNumber": 0,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": QE_ATTRIBUTES.hex().upper(),
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [_level(QE_SVN)],
    }


def _level(svn: int) -> dict[str, Any]:
    return {"tcb": {"isvsvn": svn}, "tcbDate": _TCB_DATE, "tcbStatus": "UpToDate"}


def _revocation_list(
    by: pki.Authority, now: int, revoked: Sequence[x509.Certificate] = ()
) -> bytes:
    """DER of a list that is current at `now` (unix seconds)."""
    at = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(at - timedelta(days=1))
        .next_update(at + timedelta(days=29))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()),
            critical=False,
        )
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(at - timedelta(days=1)).build()
        )
    return builder.sign(by.key, by.algorithm, ecdsa_deterministic=True).public_bytes(Encoding.DER)
