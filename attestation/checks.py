"""What has to be right before the site starts: the wallet it pays with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


@register(deploy=True)
def wallet_is_bounded(**_: Any) -> list[CheckMessage]:
    """A wallet that may pay nobody a thing is a mistake, and so is one without a bound."""
    if not settings.SITE_WALLET_KEY:
        return []
    whole, each = settings.SITE_WALLET_DAILY, settings.SITE_WALLET_DAILY_PER_PROVIDER
    if not whole or not each:
        message = "SITE_WALLET_KEY is set, but its daily amount is 0: no challenge is ever paid."
        return [Warning(message, id="attestation.W001")]
    if each > whole:
        message = "SITE_WALLET_DAILY_PER_PROVIDER is more than SITE_WALLET_DAILY."
        return [Warning(message, id="attestation.W002")]
    return []
