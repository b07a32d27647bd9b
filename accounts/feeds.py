"""What Atom feeds say in strangers' words."""

from __future__ import annotations

import re

#: What XML 1.0 cannot hold, and what reorders or hides text beyond the title that it stands in.
#: Joiners stay: emoji and scripts need them.
_UNFIT = re.compile(
    "[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    "|[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)


def xml_text(text: str) -> str:
    """Text that a provider's string can neither break nor turn around: what is unfit becomes
    U+FFFD."""
    return _UNFIT.sub("\ufffd", text)
