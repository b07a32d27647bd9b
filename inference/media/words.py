"""Why pictures or a transcript did not come, in words: what happened, what it means for money, what
to do. What is the same as for a chat is said by `inference.words`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from inference import words
from inference.media import transcripts
from inference.words import Explanation

_MAY_CHARGE = N_("It may charge for this; that is known when it settles.")
_OWN: dict[str, Explanation] = {
    "too_long": Explanation(
        N_("The provider finds the request too large"),
        N_("By the protocol nothing is due. Ask for less, or choose another provider."),
        "other",
    ),
    "refused": Explanation(
        N_("The provider refused the request"),
        N_("By the protocol nothing is due. Change the request, or choose another provider."),
        "other",
    ),
    "slow_start": Explanation(
        N_("The provider did not answer in time"),
        N_("We stopped waiting. It may charge for this; that is known when it settles."),
        "retry",
    ),
    "stalled": Explanation(
        N_("The answer stopped in the middle"),
        N_("Nothing of it is kept. It may charge for this; that is known when it settles."),
        "retry",
    ),
    "cut_off": Explanation(N_("The connection ended before the answer did"), _MAY_CHARGE, "retry"),
    "bad_answer": Explanation(
        N_("The provider sent something else than was asked for"),
        N_("Nothing of it is shown. It may charge for this; that is known when it settles."),
        "other",
    ),
    "too_large": Explanation(
        N_("The answer was larger than we take"),
        N_("It was thrown away. It may charge for this; that is known when it settles."),
        "other",
    ),
    "interrupted": Explanation(
        N_("This site was interrupted while it waited"),
        N_("It was not sent again; the provider may charge for it."),
        "retry",
    ),
    "provider_error": Explanation(
        N_("The provider could not do it"),
        N_("Whether it charges for this is known when it settles."),
        "retry",
    ),
}


#: A chat's are about a question, and about what is read.
_VERDICTS: dict[str, str] = {
    "hashes_match": N_(
        "The key that the chain named then signed exactly this request and this answer."
    ),
    "answer_differs": N_(
        "The provider's key signed, but for different text: what you see is not what was "
        "signed. Do not rely on this answer."
    ),
}


def failure(kind: str) -> Explanation:
    found = _OWN.get(kind) or words.failure(kind)
    # The buttons of a chat's ending (“ask again” in the conversation) do not exist here.
    return replace(found, next_step=found.next_step if found.next_step == "transfer" else "")


def verdict(reason: str) -> str:
    return _VERDICTS.get(reason) or words.verdict(reason)


def languages() -> tuple[tuple[str, str], ...]:
    """What can be spoken: codes and names in the reader's language, by name. A letter with a mark
    stands by its own.
    """
    named = ((code, _(name)) for code, name in transcripts.LANGUAGES.items())
    return tuple(sorted(named, key=lambda one: unicodedata.normalize("NFD", one[1])))
