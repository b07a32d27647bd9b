"""A stand-in for NVIDIA: GPU evidence, reference manifests, OCSP answers and service tokens."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPRequest, OCSPResponseBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID

from provider.tee.development import pki

DRIVER = "570.172.08"
VBIOS, VBIOS_TEXT = bytes.fromhex("00cf009602000000"), "96.00.CF.00.02"
PROJECT, PROJECT_SKU, CHIP_SKU = "G520", "0280", "895"
ISSUER = "https://nras.dev.invalid"
ARCH = "HOPPER"
MEASUREMENTS = 64
_KEY_ID = "dev-nras-1"
_FWID = hashlib.sha384(b"development gpu firmware").digest()
#: Measurement indices that each manifest speaks of.
_INDICES = {"driver": range(16, 24), "vbios": range(8)}
_DISABLED = b"\x55"
_VALUE_TYPE = 0x86
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_SHA384 = "http://www.w3.org/2001/04/xmlenc#sha384"
_LEAST = "https://docs.nvidia.com/attestation/specs/latest/opaque-data.html"


class Nvidia:
    """Device, manifest and token authorities of one seed, and the GPUs of one machine.

    A broker only makes evidence: what the service's side needs besides is imported where it is
    used, for its memory's sake.
    """

    def __init__(self, seed: bytes, machine: str = "") -> None:
        self._seed = seed
        self._machine = machine
        algorithm = hashes.SHA384()
        self.root = pki.root("Device Identity CA", self._key("root"), algorithm)
        self.identity = self.root.issue("GH100 Identity", self._key("identity"), ca=True)
        self.provisioner = self.identity.issue(
            "GH100 Provisioner ICA", self._key("provisioner"), ca=True
        )
        self.rim_root = pki.root("RIM Root", self._key("rim root"), algorithm)
        self.rim_signer = self.rim_root.issue("RIM Signer", self._key("rim"))
        self._token_key = self._key("nras")
        self._chains: dict[int, list[pki.Authority]] = {}
        #: Opaque data of this machine's evidence; None means `opaque()`.
        self.opaque: bytes | None = None

    def chain(self, number: int = 0) -> list[pki.Authority]:
        """Leaf to root of one GPU. Its serial number is the seed's and the machine's."""
        if number not in self._chains:
            self._chains[number] = self._chain(number)
        return self._chains[number]

    def _chain(self, number: int) -> list[pki.Authority]:
        name = f"{number}{self._machine}"
        identity = self._seed + bytes([number]) + self._machine.encode()
        serial = hashlib.sha256(identity).hexdigest().upper()[:40]
        brom = self.provisioner.issue(
            "GH100 GSP BROM", self._key(f"brom {name}"), ca=True, serial_number=serial[:18]
        )
        leaf = brom.issue(
            "GH100 GSP FMC LF",
            self._key(f"leaf {name}"),
            serial_number=serial,
            extensions=[_dice()],
        )
        return [leaf, brom, self.provisioner, self.identity, self.root]

    def evidence(
        self,
        nonce: bytes,
        number: int = 0,
        wrong_measurement: int | None = None,
        *,
        fresh: bool = False,
    ) -> dict[str, str]:
        """One entry of an evidence list. `wrong_measurement`: an index that is not golden.

        `fresh`: another responder's nonce and signature at each call, as hardware has.
        """
        chain = self.chain(number)
        request = bytes.fromhex("11e001ff") + nonce + b"\0"
        record = b""
        for index in range(MEASUREMENTS):
            value = golden(index)
            if index == wrong_measurement:
                value = bytes([value[0] ^ 1]) + value[1:]
            kind = 1 if index else 0
            record += struct.pack("<BBHBH", index + 1, 1, len(value) + 3, kind, len(value)) + value
        response = bytes.fromhex("11600000") + bytes([MEASUREMENTS])
        response += len(record).to_bytes(3, "little") + record
        response += os.urandom(32) if fresh else hashlib.sha256(b"responder" + nonce).digest()
        data = self.opaque or opaque()
        response += struct.pack("<H", len(data)) + data
        signed = request + response
        return {
            "arch": ARCH,
            "certificate": base64.b64encode(pki.pem(*chain)).decode(),
            "evidence": base64.b64encode(signed + chain[0].sign(signed, fresh=fresh)).decode(),
        }

    def payload(
        self,
        nonce: bytes,
        gpus: int = 1,
        wrong_measurement: int | None = None,
        *,
        fresh: bool = False,
    ) -> dict[str, Any]:
        """An `nvidia_payload`: exactly what NRAS takes (attestation.md 9.5)."""
        entries = [self.evidence(nonce, n, wrong_measurement, fresh=fresh) for n in range(gpus)]
        return {"nonce": nonce.hex(), "arch": ARCH, "evidence_list": entries}

    def manifests(self, least: Mapping[int, int] | None = None) -> dict[str, bytes]:
        """{RIM id: signed XML} for driver and VBIOS. `least`: security versions that the driver's
        demands of opaque values, by their kind.
        """
        vbios = "_".join((PROJECT, PROJECT_SKU, CHIP_SKU, VBIOS_TEXT.replace(".", "")))
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
        import jwt

        return jwt.encode(claims, self._token_key, "ES384", headers={"kid": _KEY_ID})

    def _key(self, label: str) -> ec.EllipticCurvePrivateKey:
        return pki.derive(self._seed, f"nvidia {label}", ec.SECP384R1())

    def _manifest(self, kind: str, version: str, least: Mapping[int, int]) -> bytes:
        from lxml import etree

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


def golden(index: int) -> bytes:
    """The right value of a measurement."""
    return hashlib.sha384(b"development measurement %d" % index).digest()


def _dice() -> x509.UnrecognizedExtension:
    """TCG DICE TcbInfo with the firmware id."""
    digest = bytes.fromhex("0609608648016503040202") + pki.element(4, _FWID)
    info = pki.sequence(pki.element(0xA6, pki.sequence(digest)))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.133.5.4.1"), info)


def opaque(extra: Sequence[tuple[int, bytes]] = (), version: int | None = None) -> bytes:
    """The opaque data: plain as older drivers write it, or with a header and typed values."""
    values = (
        (6, VBIOS),
        (15, CHIP_SKU.encode().ljust(9, b"\0")),
        (17, PROJECT.encode() + b"\0"),
        (18, PROJECT_SKU.encode() + b"\0"),
        (3, DRIVER.encode() + b"\0"),
        (11, _DISABLED),
        (20, _FWID),
        (21, _DISABLED),
        *extra,
    )
    if version is None:
        return b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in values)
    header = b"NVDAOD" + struct.pack("<HBBBB", 0, version, 0, 0, 0)
    return header + b"".join(
        struct.pack("<HHH", kind, _VALUE_TYPE, len(value)) + value for kind, value in values
    )
