"""Intel's collateral: nine members as dcap-qvl takes them, and how to make them of raw answers.

Signatures cover the exact bytes of the inner JSON objects, so these are cut out of the answer and
never serialised again (attestation.md 2.1, 5).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from attestation.engine import certificates
from attestation.engine.limits import JSON
from net import strictjson

Collateral = Mapping[str, Any]


@dataclass(frozen=True)
class PcsAnswers:
    """The four answers of Intel's PCS v4 with their issuer-chain headers (attestation.md 5)."""

    tcb_info: str
    tcb_info_chain: str
    qe_identity: str
    qe_identity_chain: str
    pck_crl: bytes
    pck_crl_chain: str
    root_crl: bytes


def build(answers: PcsAnswers) -> dict[str, str]:
    """The collateral document that dcap-qvl reads. Raises ValueError for answers of another form.

    Chains arrive URL-encoded; some caches serve the root's revocation list as hex.
    """
    root_crl = answers.root_crl
    if root_crl[:1] != b"\x30":
        root_crl = bytes.fromhex(root_crl.decode())
    return {
        "pck_crl_issuer_chain": _pem(answers.pck_crl_chain),
        "root_ca_crl": root_crl.hex(),
        "pck_crl": answers.pck_crl.hex(),
        "tcb_info_issuer_chain": _pem(answers.tcb_info_chain),
        "tcb_info": raw_member(answers.tcb_info, "tcbInfo"),
        "tcb_info_signature": json.loads(answers.tcb_info)["signature"],
        "qe_identity_issuer_chain": _pem(answers.qe_identity_chain),
        "qe_identity": raw_member(answers.qe_identity, "enclaveIdentity"),
        "qe_identity_signature": json.loads(answers.qe_identity)["signature"],
    }


def raw_member(text: str, key: str) -> str:
    """The exact text of a top-level member that is an object. Raises ValueError without one."""
    decoder = json.JSONDecoder()
    position = text.index("{") + 1
    while True:
        position = _skip(text, position, " \t\r\n,")
        if text[position : position + 1] != '"':
            raise ValueError(f"no member {key!r}")
        name, position = decoder.raw_decode(text, position)
        position = _skip(text, position, " \t\r\n:")
        value, end = decoder.raw_decode(text, position)
        if name == key:
            if not isinstance(value, dict):
                raise ValueError(f"member {key!r} is not an object")
            return text[position:end]
        position = end


def window(collateral: Collateral) -> tuple[datetime, datetime]:
    """From when until when all documents are valid together. Raises ValueError, KeyError or
    BadAnswer.
    """
    infos = [parsed(collateral, name) for name in ("tcb_info", "qe_identity")]
    lists = [
        certificates.load_list(octets(collateral[name])) for name in ("pck_crl", "root_ca_crl")
    ]
    ends = [crl.next_update_utc for crl in lists]
    starts = [*(moment(i["issueDate"]) for i in infos), *(crl.last_update_utc for crl in lists)]
    until = [*(moment(i["nextUpdate"]) for i in infos), *(end for end in ends if end is not None)]
    return max(starts), min(until)


def parsed(collateral: Collateral, name: str) -> Any:
    """The JSON inside a member. Raises KeyError, ValueError or BadAnswer."""
    text = collateral[name]
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a text")
    return strictjson.loads(text.encode(), JSON)


def revocation_lists(collateral: Collateral) -> list[x509.CertificateRevocationList]:
    """The lists that can be read; a chain without one of its lists does not pass."""
    found = []
    for name in ("root_ca_crl", "pck_crl"):
        try:
            found.append(certificates.load_list(octets(collateral[name])))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def roots(collateral: Collateral, pin: str) -> list[x509.Certificate]:
    """The pinned root where one of the collateral's chains carries it, else nothing."""
    for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain"):
        try:
            chain = certificates.load_pem(str(collateral[name]).encode())
        except (ValueError, KeyError):
            continue
        if chain and certificates.fingerprint(chain[-1]) == pin:
            return chain[-1:]
    return []


def octets(value: object) -> bytes:
    """Bytes given as hex or as a list of numbers. Raises ValueError or TypeError."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    if isinstance(value, list | bytes):
        return bytes(value)
    raise TypeError(f"expected hex, got {type(value).__name__}")


def moment(text: str) -> datetime:
    """An ISO 8601 time as Intel writes it. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _pem(header: str) -> str:
    return urllib.parse.unquote(header) if "%0A" in header or "%20" in header else header


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position
