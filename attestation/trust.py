"""Whom this installation believes and whom it asks, from settings: never from a report."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from attestation.engine import anchors as engine
from attestation.engine.anchors import Anchors
from attestation.sources.records import Sources
from net.addresses import Policy


def anchors() -> Anchors:
    """The vendors' roots, or those of the devnet's file. Raises BadAnchors or OSError."""
    return _load(settings.ATTESTATION_ANCHORS)


def sources() -> Sources:
    """Base URLs of the services that add to a verdict; a private address only on a devnet."""
    return Sources(
        pcs=settings.PCS_URL,
        rim=settings.RIM_URL,
        ocsp=settings.OCSP_URL,
        nras=settings.NRAS_URL,
        anchors=anchors(),
        policy=Policy(allow_private=settings.IS_DEVNET),
    )


def provider_policy() -> Policy:
    """Which addresses the URLs of providers may lead to."""
    return Policy(allow_private=settings.ALLOW_PRIVATE_PROVIDERS)


@cache
def _load(choice: str) -> Anchors:
    return engine.VENDOR if choice == "vendor" else engine.load(Path(choice).read_bytes())
