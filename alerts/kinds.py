"""What one can be told about. Pure: names, words, and what each kind needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop


class Kind(StrEnum):
    LOW_BALANCE = "low_balance"
    LOW_AVAILABLE = "low_available"
    IDLE = "idle"
    REFUND_UNLOCKED = "refund_unlocked"
    PROVIDER_DOWN = "provider_down"
    PRICE = "price"
    PRICE_BELOW = "price_below"
    PRICE_ABOVE = "price_above"
    URL = "url"
    SIGNER = "signer"
    ACKNOWLEDGED = "acknowledged"
    VERIFICATION = "verification"
    REMOVED = "removed"
    NOTE = "note"
    LOCK_TIME = "lock_time"
    TASK = "task"
    DEADLINE = "deadline"
    WORK = "work"
    REPORT = "report"
    TOKEN = "token"
    DECIDED = "decided"
    CERTIFICATE = "certificate"
    UNPAID = "unpaid"
    LOW_GAS = "low_gas"
    UNSETTLED = "unsettled"


@dataclass(frozen=True)
class Sort:
    """How a kind is offered: `label` in a list, `sentence` as the rule reads, `unit` of its number
    ("" = it takes none), `scoped` whether it is about providers."""

    kind: Kind
    label: str
    sentence: str
    hint: str
    unit: str = ""
    default: str = ""
    scoped: bool = True


SORTS: dict[Kind, Sort] = {
    sort.kind: sort
    for sort in (
        Sort(
            Kind.LOW_BALANCE,
            gettext_noop("Balance at a provider is low"),
            gettext_noop(
                "My balance at {where}, less what is being refunded, falls below {number} 0G"
            ),
            gettext_noop(
                "Providers keep 1 0G of it in reserve and answer only above that. What is held for "
                "fine-tuning counts where you name the provider."
            ),
            "0G",
            "1.5",
        ),
        Sort(
            Kind.LOW_AVAILABLE,
            gettext_noop("Available balance is low"),
            gettext_noop("My available balance falls below {number} 0G"),
            gettext_noop("What is not at a provider yet."),
            "0G",
            "1",
            scoped=False,
        ),
        Sort(
            Kind.IDLE,
            gettext_noop("Money lies idle at a provider"),
            gettext_noop("My money at {where} was not used for 30 days"),
            gettext_noop("Once, until something happens to it again; you can retrieve it."),
        ),
        Sort(
            Kind.REFUND_UNLOCKED,
            gettext_noop("A refund unlocked"),
            gettext_noop("A refund from {where} can be collected"),
            gettext_noop("Until you collect it, the provider can still charge it."),
        ),
        Sort(
            Kind.PROVIDER_DOWN,
            gettext_noop("A provider does not answer"),
            gettext_noop("{where} does not answer, and when it is back"),
            gettext_noop("By this site's own probes: two in a row that failed."),
        ),
        Sort(
            Kind.PRICE,
            gettext_noop("A price changed"),
            gettext_noop("A price of {where} changes by {number} % or more"),
            gettext_noop("0 tells every change. Read from final blocks."),
            "%",
            "0",
        ),
        Sort(
            Kind.PRICE_BELOW,
            gettext_noop("A price falls below mine"),
            gettext_noop("The price of {where} falls below {number} 0G"),
            gettext_noop(
                "Of the output or of training, of embeddings that of the input; for 1M tokens, an "
                "image or a second, as the service bills."
            ),
            "0G",
        ),
        Sort(
            Kind.PRICE_ABOVE,
            gettext_noop("A price rises above mine"),
            gettext_noop("The price of {where} rises above {number} 0G"),
            gettext_noop(
                "Of the output or of training, of embeddings that of the input; for 1M tokens, an "
                "image or a second, as the service bills."
            ),
            "0G",
        ),
        Sort(
            Kind.URL,
            gettext_noop("The endpoint changed"),
            gettext_noop("{where} changes its URL"),
            gettext_noop(
                "The owner's acknowledgement survives it, so nothing else would warn you."
            ),
        ),
        Sort(
            Kind.SIGNER,
            gettext_noop("The signing key changed"),
            gettext_noop("{where} changes its signing key, or loses its acknowledgement"),
            gettext_noop("Your own acknowledgement survives a change of the key."),
        ),
        Sort(
            Kind.ACKNOWLEDGED,
            gettext_noop("The signing key was acknowledged"),
            gettext_noop("The owner acknowledges the signing key of {where}"),
            gettext_noop("Without it no settlement is accepted."),
        ),
        Sort(
            Kind.VERIFICATION,
            gettext_noop("Verification became worse"),
            gettext_noop("The verification of {where} becomes worse"),
            gettext_noop(
                "Any verdict worse than the one before, a finding across providers, or an endpoint "
                "that moved without a new acknowledgement."
            ),
        ),
        Sort(
            Kind.REMOVED,
            gettext_noop("A service was removed"),
            gettext_noop("{where} removes its service"),
            gettext_noop("What you hold there stays yours and can be retrieved."),
        ),
        Sort(
            Kind.NOTE,
            gettext_noop("A provider announces something"),
            gettext_noop("{where} announces maintenance or tells of an incident"),
            gettext_noop("In its own words, signed by its wallet."),
        ),
        Sort(
            Kind.LOCK_TIME,
            gettext_noop("The lock time of refunds changed"),
            gettext_noop("The lock time of refunds changes"),
            gettext_noop("It counts for refunds that wait already, too."),
            scoped=False,
        ),
        Sort(
            Kind.TASK,
            gettext_noop("A fine-tuning task got somewhere"),
            gettext_noop("A fine-tuning task of mine is delivered, finished or failed"),
            gettext_noop("Asked for at its provider while nobody looks."),
            scoped=False,
        ),
        Sort(
            Kind.DEADLINE,
            gettext_noop("A fine-tuning result must be acknowledged"),
            gettext_noop("Only 24, 6 or 1 hours are left to acknowledge a fine-tuning result"),
            gettext_noop("Whoever misses it pays a part and loses the model."),
            scoped=False,
        ),
        Sort(
            Kind.WORK,
            gettext_noop("Pictures, a transcript or embeddings are ready"),
            gettext_noop("Pictures, a transcript or embeddings of mine are ready, or failed"),
            gettext_noop(
                "Once all of it ended, a minute or more after you asked; what is quicker you see."
            ),
            scoped=False,
        ),
        Sort(
            Kind.REPORT,
            gettext_noop("A report of mine was answered"),
            gettext_noop("Moderators answer a report of mine"),
            gettext_noop("What came of it stands under your reports, too."),
            scoped=False,
        ),
        Sort(
            Kind.TOKEN,
            gettext_noop("An access token of mine ends"),
            gettext_noop("An access token of mine expires, or has spent its limit"),
            gettext_noop("7 days and 1 day before it expires; at 90 % and 100 % of its limit."),
            scoped=False,
        ),
        Sort(
            Kind.DECIDED,
            gettext_noop("Moderators decided about what is mine"),
            gettext_noop(
                "Moderators flag, label or hide a service of mine, or end a link to a conversation "
                "of mine, or lift that"
            ),
            gettext_noop("With what the public reads; the message leads to your appeal."),
            scoped=False,
        ),
        Sort(
            Kind.CERTIFICATE,
            gettext_noop("My service: its certificate ends soon"),
            gettext_noop("The certificate of a service of mine ends within 14 days"),
            gettext_noop("As this site's probes see it; once more when 3 days are left."),
            scoped=False,
        ),
        Sort(
            Kind.UNPAID,
            gettext_noop("My service: fees were not paid"),
            gettext_noop("A settlement of mine does not pay all that it asks for"),
            gettext_noop("Read from final blocks; once for each transaction."),
            scoped=False,
        ),
        Sort(
            Kind.LOW_GAS,
            gettext_noop("My service: little is left for gas"),
            gettext_noop("My own wallet falls below {number} 0G"),
            gettext_noop("Settlements are sent from it; without gas you earn nothing."),
            "0G",
            "0.5",
            scoped=False,
        ),
        Sort(
            Kind.UNSETTLED,
            gettext_noop("My service: much is not settled"),
            gettext_noop("My broker counts more than {number} 0G that is not settled"),
            gettext_noop("By your broker's own word, where it shares it."),
            "0G",
            "5",
            scoped=False,
        ),
    )
}

#: Kinds that hold for a while; the others happen at a block or a moment.
LASTING = frozenset(
    {
        Kind.LOW_BALANCE,
        Kind.LOW_AVAILABLE,
        Kind.PROVIDER_DOWN,
        Kind.CERTIFICATE,
        Kind.LOW_GAS,
        Kind.UNSETTLED,
    }
)
#: About a service of one's own: offered to those who have one.
OPERATORS = frozenset({Kind.CERTIFICATE, Kind.UNPAID, Kind.LOW_GAS, Kind.UNSETTLED})
#: Kinds whose message says how prices moved.
PRICES = frozenset({Kind.PRICE, Kind.PRICE_BELOW, Kind.PRICE_ABOVE})
#: The `change` values of `ledger.ServiceChange` each kind of event reads.
CHANGES: dict[Kind, tuple[str, ...]] = {
    # `registered`: where it had gone with others (`listing_changes.returned`).
    Kind.PRICE: ("price", "registered"),
    Kind.PRICE_BELOW: ("price", "registered"),
    Kind.PRICE_ABOVE: ("price", "registered"),
    Kind.URL: ("url",),
    Kind.SIGNER: ("signer", "unacknowledged", "registered"),
    Kind.ACKNOWLEDGED: ("acknowledged",),
    Kind.REMOVED: ("removed",),
}


def sentence(kind: str, where: str, number: str) -> str:
    """The rule in words; the first letter is a capital even where it is an address."""
    every = kind == Kind.PRICE and number == "0"
    said = _("A price of {where} changes") if every else _(SORTS[Kind(kind)].sentence)
    text = said.format(where=where, number=number)
    return text[:1].upper() + text[1:] if not text.startswith("0x") else text


def moved(before: int, after: int) -> int | None:
    """By how many hundredths of a percent a price moved, signed and rounded towards zero; None from
    zero (any change from nothing is a change beyond every percentage)."""
    if before == 0:
        return None if after else 0
    change = abs(after - before) * 10_000 // before
    return change if after >= before else -change
