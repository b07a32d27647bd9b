"""A stand-in for NVIDIA's GPUs and their evidence; its services are in devnet/attestation."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from provider.tee.development import pki

DRIVER = "570.172.08"
VBIOS, VBIOS_TEXT = bytes.fromhex("00cf009602000000"), "96.00.CF.00.02"
PROJECT, PROJECT_SKU, CHIP_SKU = "G520", "0280", "895"
ARCH = "HOPPER"
MEASUREMENTS = 64
_FWID = hashlib.sha384(b"development gpu firmware").digest()
_DISABLED = b"\x55"
_VALUE_TYPE = 0x86


class Nvidia:
    """The device authorities of one seed, and the GPUs of one machine."""

    def __init__(self, seed: bytes, machine: str = "") -> None:
        self._seed = seed
        self._machine = machine
        self.root = pki.root("Device Identity CA", self._key("root"), hashes.SHA384())
        self.identity = self.root.issue("GH100 Identity", self._key("identity"), ca=True)
        self.provisioner = self.identity.issue(
            "GH100 Provisioner ICA", self._key("provisioner"), ca=True
        )
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

    def _key(self, label: str) -> ec.EllipticCurvePrivateKey:
        return pki.derive(self._seed, f"nvidia {label}", ec.SECP384R1())


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
