"""Sentences with `{gaps}` that workers store: what a check found, why a broker or a domain said
nothing. They are stored in English; a page tells them again in the reader's language.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop as N_

from accounts import stored_sentences

# --- checks of a setup (`setup_checks`, `setup_evidence`) -----------------------------------------

ACKNOWLEDGED = N_("Signer {signer} is acknowledged.")
NOT_ACKNOWLEDGED = N_("Signer {signer} is not acknowledged: nothing can be settled.")
UNREADABLE = N_("It cannot be read: {error}.")
ENTRIES = N_("{entries} entries, {size} of {most} bytes.")
AMONG_ONE = N_("{own} {unit}; the median of {count} other offer is {median}.")
AMONG = N_("{own} {unit}; the median of {count} other offers is {median}.")
ADDRESS_ITSELF = N_("{host} is an address itself, as this development network allows.")
ADDRESS = N_("{host} is an address, not a name.")
UNRESOLVED = N_("{host} does not resolve.")
CLIENTS_REFUSE = N_("{error}: clients refuse such a provider.")
NOT_ASKED = N_("Not asked: {why}")
DAY_LEFT = N_("{count} day left.")
DAYS_LEFT = N_("{count} days left.")
ANSWERED = N_("Answered in {milliseconds} ms.")
NOT_NAMED = N_("Its list does not name {model}.")
FIRST_WORD = N_("First word after {milliseconds} ms.")
QUESTION_STATUS = N_("A small question was answered with status {status}.")
AT_ONCE = N_("It came at once rather than piece by piece.")
NOTHING_HANDED = N_("{endpoint}: nothing was handed over ({error}).")
FAIL = N_("{endpoint}: {count} checks fail: {names}.")
VERDICT = N_("{endpoint}: read, verdict {verdict}.")
VERIFIED = N_("{endpoint}: read and verified.")
VERIFIED_IN_DEVELOPMENT = N_(
    "{endpoint}: read and verified (development evidence, worth nothing elsewhere)."
)
DIFFER_ON_CHAIN = N_("They differ: evidence {found}, on chain {expected}.")
DIFFER_IN_DRAFT = N_("They differ: evidence {found}, in your draft {expected}.")
UNCOMPARED_ON_CHAIN = N_("It could not be compared: evidence {found}, on chain {expected}.")
UNCOMPARED_IN_DRAFT = N_("It could not be compared: evidence {found}, in your draft {expected}.")
_CHECKS = (
    *(ACKNOWLEDGED, NOT_ACKNOWLEDGED, UNREADABLE, ENTRIES, AMONG_ONE, AMONG, ADDRESS_ITSELF),
    *(ADDRESS, UNRESOLVED, CLIENTS_REFUSE, NOT_ASKED, DAY_LEFT, DAYS_LEFT, ANSWERED, NOT_NAMED),
    *(FIRST_WORD, QUESTION_STATUS, AT_ONCE, NOTHING_HANDED, FAIL),
    *(VERIFIED_IN_DEVELOPMENT, VERIFIED),
    *(VERDICT, DIFFER_ON_CHAIN, DIFFER_IN_DRAFT, UNCOMPARED_ON_CHAIN, UNCOMPARED_IN_DRAFT),
)

# --- brokers and domains (`debts`, `profile_domain`) ----------------------------------------------

ANSWERED_STATUS = N_("it answered {status}.")
DOES_NOT_HOLD = N_("what it says does not hold: {error}.")
NO_USABLE = N_("it gave no usable answer.")
CLOCK_AHEAD = N_("its clock is ahead of ours.")
DOMAIN_STATUS = N_("{path} answers with status {status}.")
DOMAIN_UNREADABLE = N_("{path} cannot be read: {error}.")
DOMAIN_UNASKED = N_("The domain could not be asked: {error}.")
DOMAIN_NO_LIST = N_('{path} has no list "providers".')
DOMAIN_OTHERS = N_("{path} does not name {provider}.")
_OTHERS = (
    *(ANSWERED_STATUS, DOES_NOT_HOLD, NO_USABLE, CLOCK_AHEAD, DOMAIN_STATUS, DOMAIN_UNREADABLE),
    *(DOMAIN_UNASKED, DOMAIN_NO_LIST, DOMAIN_OTHERS),
)


def translated(told: str) -> str:
    """A stored sentence in the reader's language."""
    return stored_sentences.translated(told, (*_CHECKS, *_OTHERS))
