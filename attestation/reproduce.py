"""Commands and links with which a reader checks a report without us."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from attestation.models import Verification

#: Phala's page about a quote that was sent to it, by the SHA-256 of its bytes.
_QUOTE_PAGE = "https://proof.t16z.com/reports/"


@dataclass(frozen=True)
class Command:
    title: str
    text: str


def quote_page(quote: bytes) -> str:
    """Where Phala shows a quote that somebody sent it; "" without one."""
    return _QUOTE_PAGE + hashlib.sha256(quote).hexdigest() if quote else ""


def _file(run: Verification) -> str:
    return f"evidence-{str(run.pk)[:8]}.zip"


def references(run: Verification) -> Mapping[str, Any] | None:
    """The file of published values that the run compared with: label, source and SHA-256."""
    found = run.facts.get("references")
    return found if isinstance(found, dict) else None


def outside(run: Verification, quote: bytes, nras: bytes) -> Iterable[Command]:
    """Others' verifiers, asked by the reader with what the bundle holds ready."""
    file = _file(run)
    if quote:
        yield Command(
            _("Send the quote to Phala’s verifier"),
            f"unzip -p {file} quote.bin | curl -fsS -F 'file=@-;filename=quote.bin' "
            "https://cloud-api.phala.com/api/v1/attestations/verify",
        )
    if nras:
        yield Command(
            _("Send the GPU evidence to NVIDIA’s verifier"),
            f"unzip -p {file} nras-request.json | curl -fsS -H 'Content-Type: application/json' "
            "--data-binary @- https://nras.attestation.nvidia.com/v3/attest/gpu",
        )


def commands(run: Verification, site: str, bundle: str) -> tuple[Command, ...]:
    file = _file(run)
    verify = f"./run exec -- python manage.py verify_bundle {file} --json"
    if references(run):
        # By the site's own list, which whoever judges has to choose on purpose.
        verify = f"unzip -o {file} references.json && {verify} --references references.json"
    found = [
        Command(_("Download the evidence"), f"curl -fo {file} {site}{bundle}"),
        Command(
            _("Judge it offline, with the roots of this network, beside the running demo")
            if run.development
            else _("Judge it offline, by the same rules, with a checkout of this site"),
            verify,
        ),
        Command(
            _("Read what this page was made from"), f"curl -fs {site}/api/v1/verifications/{run.pk}"
        ),
    ]
    if run.provider:
        asked = f"./run exec -- python manage.py verify_service {run.provider} --kind {run.kind}"
        if run.service_name:
            asked += f" --service-name {shlex.quote(run.service_name)}"
        found.append(Command(_("Ask the provider again yourself"), asked))
    return tuple(found)
