"""`manage.py verify_evidence`: judge stored evidence offline (interfaces.md 1)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from attestation import printing, verify
from attestation.engine import anchors, collateral, references
from attestation.engine.evidence import KINDS, MOST_NOW, Context, Evidence
from attestation.engine.policy import DEFAULT, Policy
from net.errors import BadAnswer
from protocol.addresses import is_address, is_mistyped

_UNUSABLE = 2
_NONCE = re.compile(r"(?:0[xX])?[0-9a-fA-F]*")
_FINGERPRINT = re.compile(r"(?:0[xX])?[0-9a-fA-F]{64}|(?:[0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2}")


class Command(BaseCommand):
    help = (
        "Verify stored evidence: no network, no clock. "
        "Exit 0 pass or warn, 1 fail, 2 not fully judged or under development anchors."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--report", required=True, metavar="F", help="the body, or one GPU's evidence")
        add("--kind", choices=KINDS, default="report")
        add("--chain", metavar="F", help="PEM chain, for --kind gpu")
        add("--collateral", metavar="F", help="Intel's documents as dcap-qvl takes them")
        add("--now", type=int, metavar="UNIX", help="judge at this time (default: the time from "
            "which the collateral is valid)")  # fmt: skip
        add("--nonce", metavar="HEX", help="the nonce that was sent")
        add("--onchain-signer", metavar="A", help="teeSignerAddress of the service")
        add("--acknowledged", choices=("true", "false"), help="teeSignerAcknowledged")
        add("--rims", metavar="DIR", help="folder of <RIM id>.xml")
        add("--nras", metavar="F", help="NVIDIA's detached token list")
        add("--jwks", metavar="F", help="the key set for --nras")
        add("--ocsp", metavar="F", help="JSON list of hex answers")
        add("--body-signature", metavar="HEX", help="ZG-Quote-Signature ('' if it was absent)")
        add("--tls-fingerprint", metavar="HEX", help="of the connection the report came over")
        add("--anchors", metavar="vendor|FILE", default="vendor")
        add("--references", metavar="F", help="published values to compare with (default: none)")
        add("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        evidence = Evidence(options["kind"], _bytes(options["report"]), _bytes(options["chain"]))
        report = verify.judge(evidence, _context(options))
        self.stdout.write(printing.render(report, as_json=options["json"]))
        sys.exit(printing.exit_code(report.overall))


def _context(options: dict[str, Any]) -> Context:
    acknowledged = options["acknowledged"]
    given = _json(options["collateral"], dict)
    signer = options["onchain_signer"]
    nonce = options["nonce"]
    fingerprint = options["tls_fingerprint"]
    # What was mistyped here is no fault of the evidence.
    if signer is not None and not is_address(signer):
        raise _refusal("--onchain-signer is not an address: 0x and 40 hex digits")
    if signer is not None and is_mistyped(signer):
        raise _refusal("--onchain-signer has a wrong checksum: look for a typing error in it")
    if nonce and not _NONCE.fullmatch(nonce):
        raise _refusal("--nonce is not hex")
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise _refusal("--tls-fingerprint is not 64 hex digits, nor 32 pairs with colons")
    return Context(
        now=_now(options["now"], given),
        anchors=_anchors(options["anchors"]),
        policy=_policy(options["references"]),
        collateral=given,
        rims=_rims(options["rims"]),
        ocsp=_answers(options["ocsp"]),
        nras=_json(options["nras"], list),
        jwks=_json(options["jwks"], dict),
        onchain_signer=signer,
        acknowledged=None if acknowledged is None else acknowledged == "true",
        nonce=nonce,
        tls_fingerprint=fingerprint.replace(":", "") if fingerprint else None,
        body_signature=options["body_signature"],
    )


def _refusal(why: str) -> CommandError:
    return CommandError(why, returncode=_UNUSABLE)


def _now(given: int | None, documents: dict[str, Any] | None) -> int:
    """The time to judge at; never the clock, so that the same files always say the same."""
    if given is not None:
        if not 0 <= given < MOST_NOW:
            raise CommandError("--now is out of range", returncode=_UNUSABLE)
        return given
    if documents is None:
        raise CommandError("--now is needed: this command reads no clock", returncode=_UNUSABLE)
    try:
        return int(collateral.window(documents)[0].timestamp())
    except (ValueError, KeyError, TypeError, BadAnswer) as error:
        raise CommandError(
            f"--now is needed: the collateral does not say when it is valid ({error})",
            returncode=_UNUSABLE,
        ) from error


def _bytes(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", returncode=_UNUSABLE) from error


def _json(path: str | None, kind: type) -> Any:
    if path is None:
        return None
    try:
        value = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is not JSON: {error}", returncode=_UNUSABLE) from error
    if not isinstance(value, kind):
        raise CommandError(f"{path}: expected a JSON {kind.__name__}", returncode=_UNUSABLE)
    return value


def _answers(path: str | None) -> list[bytes]:
    try:
        return [bytes.fromhex(answer) for answer in _json(path, list) or []]
    except (ValueError, TypeError) as error:
        raise CommandError(f"{path}: expected hex texts", returncode=_UNUSABLE) from error


def _rims(folder: str | None) -> dict[str, bytes] | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise CommandError(f"{folder} is not a folder", returncode=_UNUSABLE)
    return {path.stem: _bytes(str(path)) for path in sorted(Path(folder).glob("*.xml"))}


def _policy(path: str | None) -> Policy:
    try:
        return references.load(_bytes(path)) if path else DEFAULT
    except references.BadReferences as error:
        raise CommandError(str(error), returncode=_UNUSABLE) from error


def _anchors(choice: str) -> anchors.Anchors:
    if choice == "vendor":
        return anchors.VENDOR
    try:
        return anchors.load(_bytes(choice))
    except anchors.BadAnchors as error:
        raise CommandError(str(error), returncode=_UNUSABLE) from error
