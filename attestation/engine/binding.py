"""report_data: whom the hardware signed for (attestation.md 8), and whether the chain agrees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from attestation.engine.evidence import Context
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol.digests import BadSignature, personal_digest, recover

GROUP = N_("Binding")
#: Keys that anyone can sign with: the 0G broker's mock TEE client always has this one.
PUBLIC_KEYS = {
    "0x325744be57db298c2652c672b32eb12875d92d83": (
        N_("0G broker mock TEE client (the private key is in its source)")
    )
}
REPORT_DATA_BYTES = 64
_ASCII_ADDRESS = re.compile(rb"0x[0-9a-fA-F]{40}")
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")
#: The layout in which a stranger's nonce can look like a key (decision 23).
V1 = "0g-v1"
_V1_VERSION = 1  # big endian, unlike everything around it
_ONCHAIN_TITLE = N_("On-chain TEE signer equals the attested address")
_ONCHAIN_SOURCE = "getService(provider).teeSignerAddress and quote report_data"
_NONCE_TITLE = N_("Quote contains the nonce we sent")
_BODY_TITLE = N_("Whole report body is signed by the attested key")


@dataclass(frozen=True)
class Binding:
    """What report_data says. `address` as text, `nonce`, keys and fingerprints as hex."""

    layout: str
    address: str | None = None
    nonce: str | None = None
    encryption_key: str = ""
    tls: str = ""

    def is_for(self, address: str) -> bool:
        """Compared without case: checksums are for people."""
        return self.address is not None and _bare(self.address) == _bare(address)


def decode(data: bytes, hint: Mapping[str, Any]) -> Binding:
    """The layout of 64 bytes. `hint`: what the provider claims; it settles hashed layouts only."""
    text = data.rstrip(b"\0")
    if _ASCII_ADDRESS.fullmatch(text) and int(text, 16):
        return Binding("0g-legacy-ascii", text.decode())
    version = int.from_bytes(data[52:56], "big")
    # A padded address is no encryption key: of such a quote whoever asked for it chose the rest.
    padded = not any(data[20:32])
    if version == _V1_VERSION and not any(data[56:]) and not padded and any(data[32:52]):
        return Binding(V1, _address(data[32:52]), encryption_key=data[:32].hex())
    return _claimed(data, hint) or _plain(data)


def _claimed(data: bytes, hint: Mapping[str, Any]) -> Binding | None:
    """Layouts that hash, or hold a key of another algorithm."""
    address, algorithm = str(hint.get("signing_address", "")), hint.get("signing_algo", "ecdsa")
    raw, nonce = _bytes(address), data[32:].hex()
    fingerprint = _bytes(hint.get("tls_cert_fingerprint"))
    if raw and fingerprint and hashlib.sha256(raw + fingerprint).digest() == data[:32]:
        return Binding("near-tls", address, nonce, tls=fingerprint.hex())
    if any(raw) and data[:32] == raw.ljust(32, b"\0"):
        layout = f"address||nonce ({str(algorithm).lower()[:16]})"
        return Binding(layout, address, nonce if any(data[32:]) else None)
    sent, key = hint.get("nonce"), hint.get("e2e_pubkey")
    named = isinstance(sent, str) and isinstance(key, str) and sent and key
    if named and hashlib.sha256(f"{sent}{key}".encode()).digest() == data[:32]:
        return Binding("chutes sha256(nonce||e2e_pubkey)", nonce=str(sent))
    app_data = hint.get("app_data")
    written = app_data if isinstance(app_data, str) else ""
    for content in filter(None, (written.encode("utf-8", "replace"), address.encode(), raw)):
        if hashlib.sha512(b"app-data:" + content).digest() == data:
            # What was hashed names the key, not what the sender writes beside it.
            ours = content in (address.encode(), raw) or _bare(written) == _bare(address)
            return Binding("dstack sha512(app-data:…)", address if ours else None)
    return None


def _plain(data: bytes) -> Binding:
    if any(data[20:32]) or not any(data[:20]):
        return Binding("unknown")
    if any(data[32:]):
        return Binding("address||nonce (ecdsa)", _address(data[:20]), data[32:].hex())
    return Binding("raw address", _address(data[:20]))


def gpu_nonces(data: bytes, binding: Binding) -> dict[str, str]:
    """GPU nonces (hex) that would tie GPU evidence to this quote, by the layout's convention.

    Those of 0G and CryptoPilot are static per key: such evidence is not dated (attestation.md 8).
    """
    found = {}
    if binding.nonce:
        found["nonce == quote nonce"] = binding.nonce
    if binding.layout == "0g-legacy-ascii":
        found["keccak(report_data handed to the quote, 42 bytes)"] = keccak(data[:42]).hex()
    elif binding.layout == V1:
        found["keccak(report_data, 64 bytes)"] = keccak(data).hex()
    elif binding.layout.startswith("chutes"):
        found["report_data[0:32]"] = data[:32].hex()
    elif binding.layout == "raw address":
        found["address padded to 32"] = data[:32].hex()
    return found


def verify(
    data: bytes,
    context: Context,
    report: Report,
    *,
    hint: Mapping[str, Any] | None = None,
    json_copy: bytes | None = None,
) -> Binding:
    """Add the rows of group Binding that report_data alone decides."""
    claims = hint or {}
    binding = decode(data, claims)
    report.facts["report_data_layout"] = binding.layout
    report.facts["signer"] = binding.address
    report.add(
        "bind.layout",
        GROUP,
        N_("report_data has a known layout"),
        FAIL if binding.layout == "unknown" else PASS,
        expected="one of the known layouts",
        got=binding.layout,
        detail="" if any(data) else N_("64 zero bytes: no key is bound"),
        source="quote report_data",
    )
    public_key(binding.address, context, report)
    if claims.get("signing_address"):
        _address_claim(str(claims["signing_address"]), binding, report)
    if json_copy is not None:
        same = json_copy.ljust(REPORT_DATA_BYTES, b"\0") == data
        report.add(
            "bind.json_report_data",
            GROUP,
            N_("JSON report_data equals the signed one"),
            PASS if same else FAIL,
            expected=data.hex(),
            got=json_copy.hex(),
            detail=N_("the 0G SDK reads the JSON copy, not the quote"),
            source="report.report_data",
        )
    _onchain(binding, context, report)
    _nonce(binding, context, report)
    if binding.tls:
        _tls(binding.tls, context, report)
    _ledger(report.facts.get("ledger"), binding, report)
    return binding


def public_key(address: str | None, context: Context, report: Report) -> None:
    """A row that only appears where a published test key is in play."""
    for who in filter(None, (address, context.onchain_signer)):
        what = PUBLIC_KEYS.get(who.lower())
        if what:
            report.add(
                "bind.public_key",
                GROUP,
                N_("Signing key is not a publicly known test key"),
                FAIL,
                got=who,
                detail=what,
                source="built-in list",
            )
            return


def unproven(claimed: str, context: Context, report: Report) -> None:
    """Rows for a report without a quote: the key is only claimed (the oldest report form)."""
    reason = N_("no quote: nothing proves that hardware holds this key")
    report.add(
        "bind.layout", GROUP, N_("report_data has a known layout"), NOT_PROVIDED, detail=reason,
        source="quote report_data",
    )  # fmt: skip
    public_key(claimed or None, context, report)
    onchain = context.onchain_signer
    differs = onchain is not None and _bare(onchain) != _bare(claimed)
    report.add(
        "bind.onchain",
        GROUP,
        _ONCHAIN_TITLE,
        FAIL if differs else NOT_PROVIDED,
        expected=onchain,
        got=f"{claimed} (claimed)" if claimed else None,
        detail=reason,
        source=_ONCHAIN_SOURCE,
    )
    _acknowledged(context, report)
    report.add(
        "bind.nonce", GROUP, _NONCE_TITLE, NOT_PROVIDED, expected=context.nonce, detail=reason,
        source="quote report_data",
    )  # fmt: skip


def _ledger(entry: Mapping[str, str] | None, binding: Binding, report: Report) -> None:
    """0G's ledger in RTMR3 has to name the keys of report_data (attestation.md 6.4).

    Layout v1 needs it: a proxy that signs with ed25519 puts its own key first and then the nonce of
    whoever asks, who can choose it to be any address in this layout (8). Nobody who asks writes the
    log.
    """
    if not binding.address:
        return
    v1 = binding.layout == V1
    verdict: Verdict = NOT_PROVIDED
    if entry:
        signer, key = entry.get("signer", ""), entry.get("enc_pub", "")
        same = binding.is_for(signer) and (not v1 or key.lower() == binding.encryption_key)
        verdict = PASS if same else FAIL
    elif not v1:
        return
    report.add(
        "bind.ledger",
        GROUP,
        N_("0G ledger binds the same keys as report_data"),
        verdict,
        expected=f"{signer} {key}" if entry else None,
        got=f"{binding.address} {binding.encryption_key}",
        detail="" if entry else N_("other machines put a stranger's bytes in this place"),
        source="last zg-image-update and report_data",
    )


def body_signature(body: bytes, binding: Binding, context: Context, report: Report) -> None:
    """ZG-Quote-Signature: personal_sign over keccak256 of the raw body."""
    if context.body_signature is None or not binding.address:
        return
    if not context.body_signature:
        report.add(
            "bind.body_sig",
            GROUP,
            _BODY_TITLE,
            NOT_PROVIDED,
            detail=N_("without it a relay can swap the GPU evidence"),
            source="ZG-Quote-Signature header",
            required=False,
        )
        return
    signature = context.body_signature
    try:
        who = recover(
            personal_digest(keccak(body)),
            signature if signature.startswith("0x") else f"0x{signature}",
        )
    except BadSignature as error:
        who, problem = "", str(error)
    else:
        problem = ""
    report.add(
        "bind.body_sig",
        GROUP,
        _BODY_TITLE,
        PASS if who and binding.is_for(who) else FAIL,
        expected=binding.address,
        got=who or None,
        detail=problem,
        source="ZG-Quote-Signature header over the raw body",
    )


def _address_claim(claimed: str, binding: Binding, report: Report) -> None:
    report.add(
        "bind.address",
        GROUP,
        N_("Signing address in the report is the one the hardware signed"),
        PASS if binding.is_for(claimed) else FAIL,
        expected=claimed,
        got=binding.address,
        source="signing_address and quote report_data",
    )


def _onchain(binding: Binding, context: Context, report: Report) -> None:
    wanted = context.onchain_signer
    verdict: Verdict = NOT_CHECKED
    if wanted is not None:
        verdict = PASS if binding.is_for(wanted) else FAIL
    report.add(
        "bind.onchain",
        GROUP,
        _ONCHAIN_TITLE,
        verdict,
        expected=wanted,
        got=binding.address,
        detail=N_("chain value not supplied") if wanted is None else "",
        source=_ONCHAIN_SOURCE,
    )
    _acknowledged(context, report)


def _acknowledged(context: Context, report: Report) -> None:
    if context.acknowledged is None:
        return
    report.add(
        "bind.ack",
        GROUP,
        N_("Contract owner acknowledged this TEE signer"),
        PASS if context.acknowledged else FAIL,
        expected=True,
        got=context.acknowledged,
        source="Service.teeSignerAcknowledged",
    )


def _nonce(binding: Binding, context: Context, report: Report) -> None:
    got, sent = binding.nonce, context.nonce
    verdict: Verdict = WARN
    if sent:
        wanted = _bare(sent)
        if got is None:
            detail = N_("cannot tell a fresh quote from a replayed one")
        elif got.lower() == wanted:
            verdict, detail = PASS, ""
        elif context.accepts_nonce:
            verdict, detail = FAIL, N_("made for somebody else's question")
        else:
            detail = N_("nonce present, not ours")
    elif got is None:
        detail = N_("no nonce in this layout: freshness rests on the key, not on the quote")
    else:
        verdict, detail = NOT_CHECKED, N_("nonce present, but we did not choose it")
    report.add(
        "bind.nonce",
        GROUP,
        _NONCE_TITLE,
        verdict,
        expected=sent or None,
        got=got or "layout has no nonce",
        detail=detail,
        source="quote report_data[32:64]",
        # Where nobody promised to take a nonce the lack of one weakens an answer ("fresh: warn")
        # and not the verdict, as with 0G's own layouts (attestation.md 15).
        required=bool(sent) and context.accepts_nonce,
    )


def _tls(fingerprint: str, context: Context, report: Report) -> None:
    live = context.tls_fingerprint
    verdict: Verdict = NOT_CHECKED
    if live is not None:
        verdict = PASS if _bare(live) == fingerprint else FAIL
    report.add(
        "bind.tls",
        GROUP,
        N_("TLS certificate key is bound to the quote"),
        verdict,
        expected=fingerprint,
        got=live,
        source="sha256(address || fingerprint) in report_data",
        required=False,
    )


def _address(raw: bytes) -> str:
    return str(to_checksum_address(raw))


def _bare(text: str) -> str:
    return text.lower().removeprefix("0x")


def _bytes(value: object) -> bytes:
    """Bytes of a hex text, b"" for anything else."""
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    return bytes.fromhex(match[1]) if match else b""
