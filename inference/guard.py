"""“Only send if verified”: the person's wish, held by the server, whatever a page shows."""

from __future__ import annotations

from collections.abc import Mapping

from attestation import assurance
from attestation.verify import Signer
from inference.errors import NotReady
from ledger.records import Listing

CODE = "not_verified"
_WHY: Mapping[str, str] = {
    "never": "its evidence has not been checked, or not for three days",
    "expired": "its last check is more than a day old",
    "fail": "its evidence failed our check",
    "weak": "a required part of its evidence is missing or could not be checked",
    "changed": "its listing changed since it was checked (address, model or signer)",
    "other_signer": "the key that would sign is not the one inside the checked machine",
    "index_behind": "this site cannot see at the moment which signer the chain names",
    "no_signer": "it declares no signer at all",
    "routed": "its machine only routes the question to another company, which reads it",
}


def check(listing: Listing, signer: Signer | None) -> None:
    """Raises NotReady("not_verified") with the reason; then nothing was sent."""
    found = assurance.of(listing, signer.address if signer else "")
    if not found.holds:
        raise NotReady(
            CODE,
            f"Nothing was sent: you send only to verified providers, and {_WHY[found.reason]}. "
            "Look at its verification, choose another provider, or turn the option off.",
        )
