"""What a person should know before signing, as sentences with `{gaps}`. Pure.

Plans hold them in English; `stored_sentences` shows them in the reader's language.
"""

from __future__ import annotations

from net.marks import N_

OPENS = N_("This opens your compute account.")
CONTRACT_WALLET = N_(
    "Your wallet is a contract. Providers answer only to keys that a plain account has signed, and "
    "a contract signs none: this money could be held and taken back, but would pay for no request "
    "and no fine-tuning."
)
GIVEN_AWAY = N_("The money belongs to the other account at once; you cannot take it back.")
OWN = N_("That is your own address: this is a deposit into your own account.")
NOBODYS = N_("That address is one of the network's own contracts: nobody could ever take it out.")
OPENS_THERE = N_("This opens a compute account for that address.")
CLOSES = N_("This empties the account, so the contract deletes it with all its provider accounts.")
KEYS_GO = N_(
    "What fine-tuning providers keep for you there goes with it: results, and the keys to models "
    "that are not decrypted yet. Fetch and decrypt those first."
)
STAYS = N_(
    "One of your provider accounts may stay, empty: what is stored there may be more than one "
    "block can clear."
)
FROM_REFUND = N_("{amount} 0G of this comes from your pending refund there, which is cancelled.")
NO_SERVICE = N_("This address offers no service in this contract right now.")
CANNOT_CHARGE = N_(
    "The owner of the 0G contract has not acknowledged this provider's signing key, so it cannot "
    "charge you yet."
)
ACKNOWLEDGES = N_("Transferring also acknowledges its signing key ({signer}).")
NONE_REGISTERED = N_("none registered")
PLACES = N_(
    "This takes place {count} of {limit}: an account holds no more providers in one service "
    "contract, and only closing it frees places."
)
RESERVE = N_(
    "Providers keep 1 0G in reserve: they answer only while you hold more than that with them."
)
RETURNS_NOW = N_("Now: {amount} 0G that is already unlocked returns to your available balance.")
LOCKS_HOURS = N_(
    "Later: {amount} 0G starts its lock and unlocks in about {count} hours (this network's rule "
    "today; it can change). Until you collect it, the provider may still charge it."
)
LOCKS_MINUTES = N_(
    "Later: {amount} 0G starts its lock and unlocks in about {count} minutes (this network's rule "
    "today; it can change). Until you collect it, the provider may still charge it."
)
#: What was stored before (`stored_sentences.FORMER`).
FORMER = (
    N_(
        "Later: {amount} 0G starts its lock and unlocks in about {count} hours (this network's "
        "rule today; it can change). Until then the provider may still charge it for requests "
        "already made."
    ),
    N_(
        "Later: {amount} 0G starts its lock and unlocks in about {count} minutes (this network's "
        "rule today; it can change). Until then the provider may still charge it for requests "
        "already made."
    ),
)
UNSETTLED = N_(
    "A result of fine-tuning is not settled there yet: its key is released only while the whole "
    "fee lies there."
)
ONLY_COSTS = N_("Nothing is unlocked and nothing is free there: this would only cost gas.")
CHANGES_NOTHING = N_("For the contract this changes nothing: it would only cost gas.")
NOT_ACKNOWLEDGED = N_(
    "The owner of the 0G contract has not acknowledged this provider's signing key."
)
SHARED_SLOT = N_("Slot 255 is shared by all short-lived keys; providers ignore its revocation.")
REVOKES_ALL = N_("Every key for this provider stops working, short-lived ones too.")
ACKNOWLEDGED_BEFORE = N_("You acknowledged this result before: this would only cost gas.")
CHARGES_IN_FULL = N_(
    "With it the provider can charge the full fee, and releases the key to the model."
)
NOT_CHARGEABLE = N_(
    "Users cannot be charged until the owner of the 0G contract acknowledges the signing key."
)
ACCOUNTS_STAY = N_(
    "Open accounts keep their money and can be charged again only after you register again."
)
#: Not to be overlooked.
GRAVE = frozenset({CONTRACT_WALLET, NOBODYS, KEYS_GO})
#: `none registered` fills a gap and is none of them.
SENTENCES = (
    *(CONTRACT_WALLET, OPENS, GIVEN_AWAY, OWN, NOBODYS, OPENS_THERE, CLOSES, STAYS),
    *(KEYS_GO, UNSETTLED),
    *(
        FROM_REFUND,
        NO_SERVICE,
        CANNOT_CHARGE,
        ACKNOWLEDGES,
        PLACES,
        RESERVE,
        RETURNS_NOW,
        LOCKS_HOURS,
    ),
    *(LOCKS_MINUTES, ONLY_COSTS, CHANGES_NOTHING, NOT_ACKNOWLEDGED, SHARED_SLOT, REVOKES_ALL),
    *(ACKNOWLEDGED_BEFORE, CHARGES_IN_FULL, NOT_CHARGEABLE, ACCOUNTS_STAY, *FORMER),
)
