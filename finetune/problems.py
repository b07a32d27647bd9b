"""What is kept in English, in the reader’s language: what is wrong with a setting or with a row
(`protocol` knows no languages), and why a worker got no further.
"""

from __future__ import annotations

import time

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import keys, node, stored_sentences
from accounts.errors import NodeError, Problem
from finetune.errors import BrokerRefused
from protocol import tuning
from protocol.digests import BadSignature

#: All that `protocol.tuning` and `protocol.datasets` say without values, so that it is translated.
KNOWN = (
    N_("is missing"),
    N_("is not one of the five settings"),
    N_("expected a plain number"),
    N_("expected a whole number"),
    N_("expected a JSON object"),
    N_("expected -1 (no limit) or 1 and more"),
    N_("write it as a decimal, without an exponent"),
    N_("longer than 1 MiB"),
    N_("not valid JSON"),
    N_("the file holds no rows"),
    N_("expected instruction and output, messages, or text"),
    N_("messages: expected a list of messages"),
    N_("messages: nobody is the user"),
    N_("messages: the last one is not the assistant's"),
)
_SETTINGS = (N_("expected %(low)s to %(high)s"),)
_FIELDS = (
    N_("%(key)s: expected a text"),
    N_("%(key)s: is empty"),
    N_("%(key)s: holds half a character (a lone surrogate)"),
)
UNREADABLE = N_("its bytes cannot be read here any more: bring the file again")
#: The first that fits is it: what holds another one comes last.
_ROWS = (
    N_("not UTF-8 at byte %(byte)s"),
    N_("not valid JSON: %(why)s at character %(place)s"),
    N_("a row of the kind %(row)s in a file of %(file)s rows"),
    N_("messages: the %(number)s. is not an object"),
    N_("messages: the %(number)s. has no known role"),
    N_("messages: the %(number)s. %(problem)s"),
    UNREADABLE,
    *_FIELDS,
)
TOO_LARGE = N_(
    "This result has %(size)s MB, and %(most)s MB are the most that is kept here. Fetch it "
    "with the official command line: 0g-compute-cli fine-tuning acknowledge-model"
)
#: What a worker says of a provider or of storage; the rest is the network's or the provider's word.
_TOLD = (
    N_("Its log cannot be read."),
    N_("Its log was rewritten too often: it is not read any more."),
    N_(
        "Its log is not read: those of your tasks at this provider take all the room that they may."
    ),
    N_("The provider's answer broke off: %(why)s."),
    N_("The provider's answer cannot be read: %(why)s."),
    N_("The provider gives no answer: %(why)s."),
    N_("The provider says: %(error)s."),
    N_("0G storage gives no answer: %(why)s."),
    N_("This storage belongs to chain %(chain)s, not to this network."),
    N_("It is no encrypted model: %(why)s."),
    TOO_LARGE,
    # As rows have it from before it was looked for again.
    N_("The chain does not know this transaction. Nothing was announced."),
    # As rows have it from before a changed key was looked for on the chain.
    N_("Its seals were signed by another key than the provider's."),
)


def of_setting(text: str) -> str:
    return stored_sentences.translated(text, _SETTINGS)


def of_row(text: str) -> str:
    return stored_sentences.translated(text, _ROWS, _FIELDS)


def told(text: str) -> str:
    """Why something failed, as a worker wrote it down or an error says it."""
    return stored_sentences.translated(text, _TOLD)


def said(error: BrokerRefused, code: str = "provider_refused", fix: str = "") -> Problem:
    """A provider's no, in its own words."""
    words = _("The provider says: %(words)s.") % {"words": error}
    return Problem(code, words, fix, status=409)


def silent(code: str, error: Exception, fix: str) -> Problem:
    """Somebody whom we asked gave no answer, or none that can be read."""
    return Problem(code, told(str(error)), fix, status=502)


def require_signed(
    address: str, hash_: bytes, signature: str, signed_at: int | None = None
) -> None:
    """Raises Problem unless `address` signed the 32-byte hash, and lately where it says when (unix
    seconds)."""
    if signed_at is not None and not tuning.timely(signed_at, time.time()):
        raise Problem("signature_old", _("The signature is too old."), _("Sign once more."))
    try:
        tuning.signed_by(address, hash_, signature)
    except BadSignature:
        raise wrong_signature(address) from None


def wrong_signature(address: str) -> Problem:
    """What `address` has not signed; why, where it is a contract, whose signatures providers cannot
    check."""
    try:
        contract = node.is_contract(address)
    except NodeError:
        contract = False
    if contract:
        return keys.contract_wallet()
    return Problem("wrong_signature", _("This is not your wallet's signature."))
