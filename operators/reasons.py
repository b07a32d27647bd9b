"""What a settlement's status means for the one who was to be paid: in words, why, and what to do
(contracts.md 6.4, 6.5; ux.md 11). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ledger.models import ACCEPTED, IN_PART


@dataclass(frozen=True)
class Reason:
    """`label` and `tone` for a badge; `cause` and `fix` as sentences, empty where all was paid."""

    label: str
    tone: str
    cause: str = ""
    fix: str = ""


STATUSES: dict[str, Reason] = {
    "success": Reason(gettext_noop("Paid in full"), "ok"),
    "acknowledged": Reason(gettext_noop("Result acknowledged, paid"), "ok"),
    "partial": Reason(
        gettext_noop("Paid in part"),
        "warn",
        gettext_noop(
            "The user’s sub-account held less than the fee. The contract paid out all of it and "
            "forgot the rest."
        ),
        gettext_noop(
            "Ask again once the user has topped up: the broker of this project keeps the rest as a "
            "debt and does so by itself. Settle more often, or keep a larger reserve, so that a "
            "user is stopped sooner."
        ),
    ),
    "penalty": Reason(
        gettext_noop("Result not acknowledged, penalty paid"),
        "warn",
        gettext_noop(
            "The user never acknowledged the trained model, so the contract paid only its penalty "
            "share of the fee. Its log does not say the whole fee, so the rest is in no sum here."
        ),
        gettext_noop("Tell users before the deadline. The result stays yours to keep locked."),
    ),
    "no_tee_signer": Reason(
        gettext_noop("Refused: signer not acknowledged"),
        "bad",
        gettext_noop(
            "The user, or the owner of the contract, has not acknowledged the service’s present "
            "signer."
        ),
        gettext_noop(
            "Changing model, type, verifiability, signer or additional information withdraws the "
            "owner’s acknowledgement: ask for it again. A user acknowledges with every transfer. "
            "Then settle again with a new nonce: nothing was charged."
        ),
    ),
    "invalid_nonce": Reason(
        gettext_noop("Refused: nonce already used"),
        "bad",
        gettext_noop(
            "The item was sent twice, or after one with a higher nonce. Usually the fee was "
            "already paid by the first."
        ),
        gettext_noop(
            "Compare with the user’s earlier items before you ask again. Run one broker on one "
            "state folder only, and set its clock."
        ),
    ),
    "invalid_signature": Reason(
        gettext_noop("Refused: signature does not match"),
        "bad",
        gettext_noop(
            "The item was signed by another key than the signer on chain, or the user has no "
            "sub-account at this service any more."
        ),
        gettext_noop(
            "Compare the broker’s signer with the listing. If they differ, update the listing "
            "(this withdraws the acknowledgement) or start the broker with the registered key."
        ),
    ),
    "provider_mismatch": Reason(
        gettext_noop("Refused: sent from another wallet"),
        "bad",
        gettext_noop(
            "The batch came from a wallet that is not the item’s provider, or whose service was "
            "removed."
        ),
        gettext_noop("Settle from the provider’s own wallet, while the service is listed."),
    ),
    "abandoned": Reason(
        gettext_noop("Abandoned"),
        "bad",
        gettext_noop("You wrote this result off: no fee was asked for."),
        gettext_noop(
            "Nothing to do. A task that cannot be delivered is best abandoned soon: the next one "
            "of this user waits for it."
        ),
    ),
}
#: Statuses that paid less than was asked, the one people can do most about first.
UNPAID = tuple(name for name, reason in STATUSES.items() if reason.cause)


def of(status: str) -> Reason:
    """A status in words; one that no document names is shown as it is."""
    known = STATUSES.get(status, _UNKNOWN)
    return Reason(_(known.label) % {"status": status}, known.tone, _(known.cause), _(known.fix))


_UNKNOWN = Reason(
    gettext_noop("Unknown result (%(status)s)"),
    "bad",
    gettext_noop("The contract gave a result that this site does not know."),
    gettext_noop("Look at the transaction."),
)


@dataclass(frozen=True)
class Outcome:
    """A batch in words."""

    label: str
    tone: str


def outcome(counts: Iterable[tuple[str, int]]) -> Outcome:
    """What became of a batch, from its items by status: one reason, or how many of which."""
    found = {status: number for status, number in counts if number}
    if len(found) == 1:
        reason = of(next(iter(found)))
        return Outcome(reason.label, reason.tone)
    part = sum(found.get(status, 0) for status in IN_PART)
    refused = sum(number for status, number in found.items() if status not in ACCEPTED)
    full = sum(found.values()) - part - refused
    words = (
        *((full, _("%(count)s paid")), (part, _("%(count)s in part"))),
        (refused, _("%(count)s refused")),
    )
    said = ", ".join(word % {"count": number} for number, word in words if number)
    return Outcome(said, "bad" if refused else "warn" if part else "ok")
