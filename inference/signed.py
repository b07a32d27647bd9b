"""Which key signs a provider's answers in truth, for pages that compare it with the attested."""

from __future__ import annotations

from inference.models import Turn
from net.cache import keep, recall

#: Verdicts about an answer whose signature was read: each names who signed.
_JUDGED = ("verified", "rewritten", "altered", "not_comparable", "failed")
#: Nobody's answer may move a public page from one second to the next.
_KEPT_SECONDS = 300


def newest_signer(provider: str, serving: str) -> str:
    """Who signed the newest answer of a provider's service that was checked here, by its signature;
    "" where there is none (at most 1 query). It says nothing of whose answer it was, nor when.
    `serving`: the contract, each of which names a key of its own.
    """
    key = f"inference:signer:{provider}:{serving}"
    known = recall(key)
    if known is None:
        signed = Turn.objects.filter(provider=provider, serving=serving, verdict__in=_JUDGED)
        named = signed.exclude(signer="").order_by("-pk").values_list("signer", flat=True)
        known = named.first() or ""
        keep(key, known, _KEPT_SECONDS)
    return str(known)
