"""Whom this installation believes and whom it asks, from settings: never from a report."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from attestation.engine import anchors as engine
from attestation.engine import references
from attestation.engine.anchors import Anchors
from attestation.engine.policy import DEFAULT, Policy
from attestation.sources.records import Sources
from net import addresses


def anchors() -> Anchors:
    """The vendors' roots, or those of the devnet's file. Raises BadAnchors or OSError."""
    return _load(settings.ATTESTATION_ANCHORS)


def policy() -> Policy:
    """What is accepted beyond cryptography: with the host's reference file, where there is one.

    Read once: a changed file counts from the next start. Raises BadReferences or OSError.
    """
    return _policy(settings.ATTESTATION_REFERENCES)


def sources() -> Sources:
    """Base URLs of the services that add to a verdict; a private address only on a devnet."""
    return Sources(
        pcs=settings.PCS_URL,
        rim=settings.RIM_URL,
        ocsp=settings.OCSP_URL,
        nras=settings.NRAS_URL,
        anchors=anchors(),
        policy=addresses.Policy(allow_private=settings.IS_DEVNET),
    )


def provider_policy() -> addresses.Policy:
    """Which addresses the URLs of providers may lead to."""
    return addresses.Policy(allow_private=settings.ALLOW_PRIVATE_PROVIDERS)


@cache
def _load(choice: str) -> Anchors:
    return engine.VENDOR if choice == "vendor" else engine.load(Path(choice).read_bytes())


@cache
def _policy(path: str) -> Policy:
    return references.load(Path(path).read_bytes()) if path else DEFAULT
