"""“Only send if verified”: the person's wish, held by the server, whatever a page shows."""

from __future__ import annotations

from collections.abc import Mapping

from attestation import assurance, verify
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


def doubt(listing: Listing, signer: Signer | None) -> str:
    """Why the service does not count as verified now, as half a sentence; "" where it does (up to
    4 queries).
    """
    found = assurance.of(listing, signer.address if signer else "")
    return "" if found.holds else _WHY[found.reason]


def check(listing: Listing, signer: Signer | None) -> None:
    """Raises NotReady("not_verified") with the reason; then nothing was sent."""
    if why := doubt(listing, signer):
        raise NotReady(
            CODE,
            f"Nothing was sent: you send only to verified providers, and {why}. "
            "Look at its verification, choose another provider, or turn the option off.",
            href=f"/services/{listing.kind}/{listing.provider}/verification",
        )


def signer_of(listing: Listing) -> Signer | None:
    """Who the chain says signs this service's answers."""
    return verify.signer_of(
        tee_signer=listing.tee_signer,
        acknowledged=listing.tee_signer_acknowledged,
        verifiability=listing.verifiability,
        additional_info=listing.additional_info,
    )
