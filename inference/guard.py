"""“Only send if verified”: the person's wish, held by the server, whatever a page shows."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import links
from attestation import assurance, verify
from attestation.verify import Signer
from inference.errors import NotReady
from ledger.records import Listing

CODE = "not_verified"
_WHY: Mapping[str, str] = {
    "never": N_("its evidence has not been checked, or not for three days"),
    "expired": N_("its last check is more than a day old"),
    "fail": N_("its evidence failed our check"),
    "weak": N_("a required part of its evidence is missing or could not be checked"),
    "changed": N_("its listing changed since it was checked (address, model or signer)"),
    "other_signer": N_("the key that would sign is not the one inside the checked machine"),
    "index_behind": N_("this site cannot see at the moment which signer the chain names"),
    "no_signer": N_("it declares no signer at all"),
    "routed": N_("its machine only routes the question to another company, which reads it"),
    "in_clear": N_("its address is plain http: your key and every word travel readable"),
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
            _(
                "Nothing was sent: you send only to verified providers, and %(why)s. Look at its "
                "verification, choose another provider, or turn the option off."
            )
            % {"why": _(why)},
            href=links.service(listing, "verification"),
        )


def signer_of(listing: Listing) -> Signer | None:
    """Who the chain says signs this service's answers."""
    return verify.signer_of(
        tee_signer=listing.tee_signer,
        acknowledged=listing.tee_signer_acknowledged,
        verifiability=listing.verifiability,
        additional_info=listing.additional_info,
    )
