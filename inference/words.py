"""What each end of an answer and each verdict means, in words: what happened, what it means for
money, what to do (ux.md 7, 18). All constants are English here and translated where they are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from django.utils.translation import gettext_noop as N_
from django.utils.translation import ngettext


@dataclass(frozen=True)
class Explanation:
    """`next_step`: retry, transfer, key, shorten, other or "" (nothing to do)."""

    title: str
    text: str
    next_step: str = ""


FAILURES: dict[str, Explanation] = {
    "not_funded": Explanation(
        N_("The provider says your balance is too low"),
        N_(
            "It keeps 1 0G in reserve and counts fees it has not settled yet. "
            "By the protocol nothing is due."
        ),
        "transfer",
    ),
    "key_rejected": Explanation(
        N_("The provider did not accept your key"),
        N_(
            "It may have expired or been revoked. "
            "By the protocol nothing is due. Send again to make a new one."
        ),
        "key",
    ),
    "not_acknowledged": Explanation(
        N_("The provider does not know your account yet"),
        N_(
            "It reads the chain every few minutes. "
            "By the protocol nothing is due. Wait two minutes, then retry."
        ),
        "retry",
    ),
    "model_gone": Explanation(
        N_("The provider no longer offers this model"),
        N_("By the protocol nothing is due. Choose another provider."),
        "other",
    ),
    "too_long": Explanation(
        N_("The conversation is too long for this model"),
        N_("By the protocol nothing is due. Send less of it, or ask a shorter question."),
        "shorten",
    ),
    "rate_limited": Explanation(
        N_("The provider limits how often you may ask"),
        N_("By the protocol nothing is due. Wait a little, then retry."),
        "retry",
    ),
    "busy": Explanation(
        N_("The provider takes no more requests right now"),
        N_("By the protocol nothing is due. Retry, or choose another provider."),
        "retry",
    ),
    "provider_error": Explanation(
        N_("The provider reported an error"),
        N_("Whether it charges for this is known when it settles."),
        "retry",
    ),
    "refused": Explanation(
        N_("The provider refused the request"),
        N_(
            "By the protocol nothing is due. Change the question or the settings, "
            "or choose another provider."
        ),
        "other",
    ),
    "blocked_address": Explanation(
        N_("This provider's address is not one we connect to"),
        N_(
            "Its URL leads to a private or unusable address. Nothing was sent, nothing was charged."
        ),
        "other",
    ),
    "unreachable": Explanation(
        N_("The provider cannot be reached"),
        N_("Nothing was sent, nothing was charged. Retry, or choose another provider."),
        "retry",
    ),
    "slow_start": Explanation(
        N_("No first word within 20 s"),
        N_("We stopped waiting. The provider may still charge for an answer it was working on."),
        "retry",
    ),
    "stalled": Explanation(
        N_("The answer stopped in the middle"),
        N_("Nothing more came for 30 s. What had arrived is kept. The provider may charge for it."),
        "retry",
    ),
    "cut_off": Explanation(
        N_("The connection ended in the middle"),
        N_("What had arrived is kept. The provider may charge for the whole answer."),
        "retry",
    ),
    "bad_answer": Explanation(
        N_("The provider sent something that is no chat answer"),
        N_("What had arrived before is kept. The provider may charge for it."),
        "other",
    ),
    "too_large": Explanation(
        N_("The answer was longer than we take"),
        N_("It was ended there. The provider may charge for the whole answer."),
        "other",
    ),
    "interrupted": Explanation(
        N_("This site was interrupted while the answer was written"),
        N_("What had arrived is kept. It was not sent again; the provider may charge for it."),
        "retry",
    ),
    "not_sent": Explanation(
        N_("This site was interrupted before it sent this"),
        N_("Nothing was sent, and nothing is due."),
        "retry",
    ),
}
STOPPED = Explanation(
    N_("You stopped this answer"),
    N_("The provider may bill the whole answer, not only what you see."),
)
#: The same where nothing came before that.
NOTHING_CAME: dict[str, Explanation] = {
    "stalled": Explanation(
        N_("The answer stopped before its first word"),
        N_("Nothing came for 30 s. The provider may charge for an answer it was working on."),
        "retry",
    ),
    "cut_off": Explanation(
        N_("The connection ended before the first word"),
        N_("The provider may charge for an answer it was working on."),
        "retry",
    ),
    "bad_answer": Explanation(
        FAILURES["bad_answer"].title,
        N_("The provider may charge for it."),
        "other",
    ),
    "interrupted": Explanation(
        N_("This site was interrupted before the first word"),
        N_("It was not sent again; the provider may charge for it."),
        "retry",
    ),
}
UNEXPLAINED = Explanation(N_("The answer did not come"), N_("What had arrived is kept."), "retry")
#: What strangers read of an answer that ended early, by `models.State`: why is its owner's, who may
#: have had too little money.
ENDED_FOR_OTHERS: dict[str, Explanation] = {
    "stopped": Explanation(N_("The answer was stopped before its end"), ""),
    "cut_off": Explanation(N_("The answer stopped in the middle"), ""),
    "failed": Explanation(N_("The answer did not come"), ""),
}

VERDICTS: dict[str, str] = {
    "pending": N_("Asking the provider for its signature of this answer."),
    "hashes_match": N_(
        "The key that the chain named then signed exactly this question and this answer."
    ),
    "request_differs": N_(
        "The answer is signed, but the provider signed another request than the one we sent: "
        "it may have rewritten it before asking the model."
    ),
    "model_differs": N_(
        "The answer is signed, but for another model than the one you asked for: the signature "
        "names it below."
    ),
    "answer_differs": N_(
        "The provider's key signed, but for different text: what you read is not what was "
        "signed. Do not rely on this answer."
    ),
    "not_received_whole": N_(
        "The signature covers the whole answer, and only a part of it arrived, "
        "so the two cannot be compared."
    ),
    "signer_unacknowledged": N_(
        "The network's owner had not accepted this signer when the question was sent."
    ),
    "wrong_signer": N_(
        "Another key than the one that the chain named then made this signature. Do not rely on it."
    ),
    "bad_signature": N_("What the provider gave as a signature is none."),
    "reused": N_(
        "The provider used an answer id it had used before: an old signature proves nothing new."
    ),
    "unknown_form": N_("The right key signed, but in a form this site cannot read."),
    "never_signs": N_("This provider's listing names no signer, so there is nothing to check."),
    "no_id": N_("The provider gave no id under which to ask for a signature."),
    "not_found": N_("The provider gave no signature for this answer, or has none any more."),
    "unusable": N_("The provider's reply to our question for a signature is not one."),
}


#: Shown as they are stored.
STORED = (
    *(N_("open"), N_("answered"), N_("stopped"), N_("cut_off"), N_("failed")),
    *(N_("known"), N_("estimated")),
)
_COUNTED = re.compile(r"(\d{1,9}) (picture|text)s?")


def quantity(stored: str) -> str:
    """What a request was for, in the reader's language: `Turn.quantity` is stored in English."""
    if (counted := _COUNTED.fullmatch(stored)) is None:
        return stored
    count = int(counted[1])
    if counted[2] == "text":
        return ngettext("%(n)s text", "%(n)s texts", count) % {"n": count}
    return ngettext("%(n)s picture", "%(n)s pictures", count) % {"n": count}


def failure(kind: str, came: bool = True) -> Explanation:
    """`came`: whether anything had arrived before."""
    if came:
        return FAILURES.get(kind, UNEXPLAINED)
    return NOTHING_CAME.get(kind) or FAILURES.get(kind, replace(UNEXPLAINED, text=""))


def verdict(reason: str) -> str:
    return VERDICTS.get(reason, VERDICTS["pending"])
