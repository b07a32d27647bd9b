"""What the setup checker says about a listing: one result for each check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext_noop

from ledger.records import Listing

State = Literal["ok", "warn", "bad", "not_checked"]
#: id → what is looked at, in the order it is shown; a run has one result for each.
TITLES: Mapping[str, str] = {
    "stake": gettext_noop("Stake is on chain"),
    "info": gettext_noop("Additional information can be read"),
    "price": gettext_noop("Price is within 10x of the market"),
    "dns": gettext_noop("The host name leads to public addresses"),
    "tls": gettext_noop("The certificate is valid"),
    "models": gettext_noop("The model list answers and names your model"),
    "cors": gettext_noop("Browsers may ask it"),
    "stream": gettext_noop("A question is answered as a stream"),
    "usage": gettext_noop("The last chunk says what was used"),
    "evidence": gettext_noop("Evidence is handed over and can be read"),
    "signer": gettext_noop("The signer in the evidence is the one on chain"),
    "acknowledged": gettext_noop("The owner of the 0G contract acknowledged the signer"),
}


@dataclass(frozen=True)
class Result:
    """One check. `found` is what was there, in our words; `fix` what to do, "" where it is good."""

    id: str
    state: State
    found: str
    fix: str = ""

    @property
    def title(self) -> str:
        return TITLES[self.id]

    def stored(self) -> dict[str, str]:
        return {"id": self.id, "state": self.state, "found": self.found[:400], "fix": self.fix}


@dataclass(frozen=True)
class Subject:
    """What is checked: a listing as the index has it, or (not `published`) one that somebody is
    about to publish. `block`: of the index. `key`: of a wallet that pays one question to it."""

    listing: Listing
    published: bool
    block: int
    key: str = ""
