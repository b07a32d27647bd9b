"""Which key signs a provider's answers in truth, for pages that compare it with the attested."""

from __future__ import annotations

from inference.models import Turn
from net.cache import keep, recall

#: Verdicts about an answer whose signature was read: each names who signed.
_JUDGED = ("verified", "rewritten", "altered", "not_comparable", "failed")
#: Nobody's answer may move a public page from one second to the next.
_KEPT_SECONDS = 300


def newest_signer(provider: str) -> str:
    """Who signed the newest answer of a provider that was checked here, by its signature; "" where
    there is none (at most 1 query). It says nothing of whose answer it was, nor when.
    """
    key = f"inference:signer:{provider}"
    known = recall(key)
    if known is None:
        signed = Turn.objects.filter(provider=provider, verdict__in=_JUDGED).exclude(signer="")
        known = signed.order_by("-pk").values_list("signer", flat=True).first() or ""
        keep(key, known, _KEPT_SECONDS)
    return str(known)
