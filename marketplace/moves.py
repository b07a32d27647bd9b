"""Endpoints that moved after the owner of the contract had acknowledged their signer.

A new URL does not reset that acknowledgement (contracts.md 7): until somebody looks at the new
endpoint, the owner again or this site by its evidence, nobody has vouched for what answers there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _

from attestation.selectors import StandingView
from ledger import selectors
from ledger.records import Listing


@dataclass(frozen=True)
class Move:
    """When the endpoint changed, and the acknowledgement that was for the one before."""

    block: int
    at: dt.datetime
    acknowledged_block: int

    def attested(self, standing: StandingView) -> bool:
        """Whether we found its evidence good since (a verdict is always about the present URL)."""
        at = standing.checked_at
        return standing.holds_key and at is not None and at > self.at

    @property
    def text(self) -> str:
        return _(
            "The endpoint changed at block %(changed)s, after the owner's last acknowledgement "
            "(block %(acknowledged)s). The acknowledgement was for the earlier endpoint."
        ) % {"changed": f"{self.block:,}", "acknowledged": f"{self.acknowledged_block:,}"}

    def said(self, standing: StandingView) -> str:
        """The same with what it means now, and what to do."""
        if self.attested(standing):
            meaning = _("We have verified the evidence of the new endpoint since.")
        else:
            meaning = _(
                "Nobody has vouched for the new one yet: send nothing private, and do not add "
                "funds before a check."
            )
        return f"{self.text} {meaning}"


def moved(listings: Iterable[Listing]) -> dict[tuple[str, str], Move]:
    """By serving contract and provider, those whose endpoint moved without consent (1 query, none
    where nothing is acknowledged).
    """
    found = selectors.moved_since_acknowledged(listings)
    return {key: Move(url.block, url.at, consent) for key, (url, consent) in found.items()}
