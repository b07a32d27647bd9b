"""What each end of an answer and each verdict means, in words: what happened, what it means for
money, what to do (ux.md 7, 18).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """`next_step`: retry, transfer, key, shorten, other or "" (nothing to do)."""

    title: str
    text: str
    next_step: str = ""


FAILURES: dict[str, Explanation] = {
    "not_funded": Explanation(
        "The provider says your balance is too low",
        "It keeps 1 0G in reserve and counts fees it has not settled yet. "
        "By the protocol nothing is due.",
        "transfer",
    ),
    "key_rejected": Explanation(
        "The provider did not accept your key",
        "It may have expired or been revoked. "
        "By the protocol nothing is due. Send again to make a new one.",
        "key",
    ),
    "not_acknowledged": Explanation(
        "The provider does not know your account yet",
        "It reads the chain every few minutes. "
        "By the protocol nothing is due. Wait two minutes, then retry.",
        "retry",
    ),
    "model_gone": Explanation(
        "The provider no longer offers this model",
        "By the protocol nothing is due. Choose another provider.",
        "other",
    ),
    "too_long": Explanation(
        "The conversation is too long for this model",
        "By the protocol nothing is due. Send less of it, or ask a shorter question.",
        "shorten",
    ),
    "rate_limited": Explanation(
        "The provider limits how often you may ask",
        "By the protocol nothing is due. Wait a little, then retry.",
        "retry",
    ),
    "busy": Explanation(
        "The provider is answering too many others",
        "By the protocol nothing is due. Retry, or choose another provider.",
        "retry",
    ),
    "provider_error": Explanation(
        "The provider reported an error",
        "Whether it charges for this is known when it settles.",
        "retry",
    ),
    "refused": Explanation(
        "The provider refused the request", "By the protocol nothing is due.", "other"
    ),
    "blocked_address": Explanation(
        "This provider's address is not one we connect to",
        "Its URL leads to a private or unusable address. Nothing was sent, nothing was charged.",
        "other",
    ),
    "unreachable": Explanation(
        "The provider cannot be reached",
        "Nothing was sent, nothing was charged. Retry, or choose another provider.",
        "retry",
    ),
    "slow_start": Explanation(
        "No first word within 20 s",
        "We stopped waiting. The provider may still charge for an answer it was working on.",
        "retry",
    ),
    "stalled": Explanation(
        "The answer stopped in the middle",
        "Nothing more came for 30 s. What had arrived is kept. The provider may charge for it.",
        "retry",
    ),
    "cut_off": Explanation(
        "The connection ended in the middle",
        "What had arrived is kept. The provider may charge for the whole answer.",
        "retry",
    ),
    "bad_answer": Explanation(
        "The provider sent something that is no chat answer",
        "What had arrived before is kept. The provider may charge for it.",
        "other",
    ),
    "too_large": Explanation(
        "The answer was longer than we take",
        "It was ended there. The provider may charge for the whole answer.",
        "other",
    ),
    "interrupted": Explanation(
        "This site was restarted while the answer was written",
        "What had arrived is kept. It was not sent again; the provider may charge for it.",
        "retry",
    ),
}
STOPPED = Explanation(
    "You stopped this answer", "The provider may bill the whole answer, not only what you see."
)
UNEXPLAINED = Explanation("The answer did not come", "What had arrived is kept.", "retry")

VERDICTS: dict[str, str] = {
    "pending": "Asking the provider for its signature of this answer.",
    "hashes_match": "The key the chain names signed exactly this question and this answer.",
    "request_differs": (
        "The answer is signed, but the provider signed another request than the one we sent: "
        "it may have rewritten it before asking the model."
    ),
    "model_differs": (
        "The answer is signed, but for another model than the one you asked for: the signature "
        "names it below."
    ),
    "answer_differs": (
        "The provider's key signed, but for different text: what you read is not what was signed. "
        "Do not rely on this answer."
    ),
    "not_received_whole": (
        "The signature covers the whole answer, and only a part of it arrived, "
        "so the two cannot be compared."
    ),
    "signer_unacknowledged": (
        "The network's owner had not accepted this signer when the question was sent."
    ),
    "wrong_signer": "Another key than the one on chain made this signature. Do not rely on it.",
    "bad_signature": "What the provider gave as a signature is none.",
    "reused": (
        "The provider used an answer id it had used before: an old signature proves nothing new."
    ),
    "unknown_form": "The right key signed, but in a form this site cannot read.",
    "never_signs": "This provider's listing names no signer, so there is nothing to check.",
    "no_id": "The provider gave no id under which to ask for a signature.",
    "not_found": "The provider has no signature for this answer, or none any more.",
    "unusable": "The provider's reply to our question for a signature is not one.",
}


def failure(kind: str) -> Explanation:
    return FAILURES.get(kind, UNEXPLAINED)


def verdict(reason: str) -> str:
    return VERDICTS.get(reason, VERDICTS["pending"])
