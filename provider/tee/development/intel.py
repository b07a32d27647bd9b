"""A stand-in for Intel's provisioning PKI and its quoting enclave; its collateral service is in
devnet/attestation."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol import quotes
from provider.tee.development import pki

FMSPC = bytes.fromhex("d0c06f000000")
CPU_SVN = bytes.fromhex("04040202040100050000000000000000")
#: A microcode behind: the TCB info has a level for it that is out of date.
OLD_CPU_SVN = bytes.fromhex("03030202040100050000000000000000")
PCE_SVN = 13
TEE_TCB_SVN = bytes.fromhex("0b010400000000000000000000000000")
#: A build that Intel has released, so that the row about it can pass.
TDX_MODULE = bytes.fromhex(
    "7bf063280e94fb051f5dd7b1fc59ce9aac42bb961df8d44b"
    "709c9b0ff87a7b4df648657ba6d1189589feab1d5a3c9a9d"
)
NORMAL_ATTRIBUTES = bytes.fromhex("0000001000000000")
DEBUG_ATTRIBUTES = bytes.fromhex("0100001000000000")
MIGRATABLE_ATTRIBUTES = bytes.fromhex("0000003000000000")
_XFAM = bytes.fromhex("e702060000000000")
QE_ATTRIBUTES = bytes.fromhex("11000000000000000000000000000000")
QE_SIGNER = hashlib.sha256(b"development quoting enclave signer").digest()
QE_PRODUCT, QE_SVN = 2, 4
_SGX_OID = "1.2.840.113741.1.13.1"


class Intel:
    """Root and platform CA of one seed; PCK and attestation key of one machine.

    Machines of different names are different CPU packages under the same root.
    """

    def __init__(self, seed: bytes, machine: str = "", cpu_svn: bytes = CPU_SVN) -> None:
        algorithm = hashes.SHA256()
        keys = {
            label: pki.derive(seed, f"intel {label}", ec.SECP256R1())
            for label in ("root", "platform")
        } | {
            label: pki.derive(seed, f"intel {label}{machine}", ec.SECP256R1())
            for label in ("pck", "attestation")
        }
        self._cpu_svn = cpu_svn
        self.root = pki.root("SGX Root CA", keys["root"], algorithm)
        self.platform = self.root.issue("SGX PCK Platform CA", keys["platform"], ca=True)
        extension = x509.UnrecognizedExtension(
            x509.ObjectIdentifier(_SGX_OID), _sgx(seed + machine.encode(), cpu_svn)
        )
        self.pck = self.platform.issue("SGX PCK Certificate", keys["pck"], extensions=[extension])
        self._attestation = keys["attestation"]

    def quote(self, fields: Mapping[str, bytes], *, fresh: bool = False) -> bytes:
        """A version 4 quote with these body fields; the others have a normal machine's values.

        `fresh`: other signature bytes at each call, as hardware has.
        """
        values = {
            "tee_tcb_svn": TEE_TCB_SVN,
            "mr_seam": TDX_MODULE,
            "td_attributes": NORMAL_ATTRIBUTES,
            "xfam": _XFAM,
            "mr_td": hashlib.sha384(b"development firmware").digest(),
            **fields,
        }
        header = struct.pack("<HHIHH", 4, quotes.KEY_TYPE_ECDSA_P256, quotes.TEE_TYPE_TDX, 0, 0)
        header += quotes.QE_VENDOR_INTEL + bytes(20)
        body = b"".join(values.get(name, b"").ljust(size, b"\0") for name, size in quotes.BODY_TD10)
        section = self._signature_section(header + body, fresh)
        return header + body + struct.pack("<I", len(section)) + section

    def _signature_section(self, signed: bytes, fresh: bool) -> bytes:
        point = self._attestation.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )[1:]
        auth = bytes(range(32))
        report = _qe_report(hashlib.sha256(point + auth).digest(), self._cpu_svn)
        chain = pki.pem(self.pck, self.platform, self.root)
        inner = report + self.pck.sign(report) + struct.pack("<H", len(auth)) + auth
        inner += struct.pack("<HI", quotes.CERTIFICATION_PCK_CHAIN, len(chain)) + chain
        signature = pki.raw_sign(self._attestation, signed, hashes.SHA256(), fresh=fresh)
        outer = struct.pack("<HI", quotes.CERTIFICATION_QE_REPORT, len(inner))
        return signature + point + outer + inner


def _qe_report(bound: bytes, cpu_svn: bytes) -> bytes:
    report = bytearray(quotes.QE_REPORT_BYTES)
    report[0:16] = cpu_svn
    report[48:64] = QE_ATTRIBUTES
    report[64:96] = hashlib.sha256(b"development quoting enclave").digest()
    report[128:160] = QE_SIGNER
    struct.pack_into("<HH", report, 256, QE_PRODUCT, QE_SVN)
    report[320:352] = bound
    return bytes(report)


def _sgx(seed: bytes, cpu_svn: bytes) -> bytes:
    """The PCK extension: platform ids, patch levels, configuration flags (attestation.md 4)."""

    def item(leaf: str, value: bytes) -> bytes:
        return pki.sequence(pki.object_id(f"{_SGX_OID}.{leaf}"), value)

    def number(value: int) -> bytes:
        return pki.element(2, value.to_bytes(2, "big").lstrip(b"\0") or b"\0")

    svns = [item(f"2.{i}", number(svn)) for i, svn in enumerate(cpu_svn, 1)]
    svns += [item("2.17", number(PCE_SVN)), item("2.18", pki.element(4, cpu_svn))]
    flags = [item(f"7.{i}", pki.element(1, b"\xff")) for i in (1, 2, 3)]
    ppid, instance = (hashlib.sha256(seed + label).digest()[:16] for label in (b"ppid", b"piid"))
    return pki.sequence(
        item("1", pki.element(4, ppid)),
        item("2", pki.sequence(*svns)),
        item("3", pki.element(4, bytes(2))),
        item("4", pki.element(4, FMSPC)),
        item("5", pki.element(10, b"\x01")),
        item("6", pki.element(4, instance)),
        item("7", pki.sequence(*flags)),
    )
