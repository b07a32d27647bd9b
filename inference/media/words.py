"""Why pictures or a transcript did not come, in words: what happened, what it means for money, what
to do. What is the same as for a chat is said by `inference.words`.
"""

from __future__ import annotations

from dataclasses import replace

from inference import words
from inference.words import Explanation

_MAY_CHARGE = "It may charge for this; that is known when it settles."
_OWN: dict[str, Explanation] = {
    "too_long": Explanation(
        "The provider finds the request too large",
        "By the protocol nothing is due. Ask for less, or choose another provider.",
        "other",
    ),
    "slow_start": Explanation(
        "The provider did not answer in time",
        f"We stopped waiting. {_MAY_CHARGE}",
        "retry",
    ),
    "stalled": Explanation(
        "The answer stopped in the middle", f"Nothing of it is kept. {_MAY_CHARGE}", "retry"
    ),
    "cut_off": Explanation("The connection ended before the answer did", _MAY_CHARGE, "retry"),
    "bad_answer": Explanation(
        "The provider sent something else than was asked for",
        f"It was thrown away unread. {_MAY_CHARGE}",
        "other",
    ),
    "too_large": Explanation(
        "The answer was larger than we take", f"It was thrown away. {_MAY_CHARGE}", "other"
    ),
    "interrupted": Explanation(
        "This site was restarted while it waited",
        "It was not sent again; the provider may charge for it.",
        "retry",
    ),
    "provider_error": Explanation(
        "The provider could not do it",
        "Whether it charges for this is known when it settles.",
        "retry",
    ),
}


def failure(kind: str) -> Explanation:
    found = _OWN.get(kind) or words.failure(kind)
    # The buttons of a chat's ending (“ask again” in the conversation) do not exist here.
    return replace(found, next_step=found.next_step if found.next_step == "transfer" else "")


def verdict(reason: str) -> str:
    text = words.verdict(reason)
    return text.replace("what you read is", "what you see is").replace(
        "this question", "this request"
    )
