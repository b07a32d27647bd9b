"""What a service declares of its model in the additional information of its listing. Pure: nobody
checked any of it.
"""

from __future__ import annotations

import re

#: A declared context length: read by the same expression here and in the database, so that a
#: filter finds what a page shows.
CONTEXT_PATTERN = (
    r'"(?:context_?length|context_?window|max_?model_?len)"[ \t\r\n]*:[ \t\r\n]*"?'
    r"([0-9]{1,9})(?![0-9.])"
)
_CONTEXT = re.compile(CONTEXT_PATTERN, re.IGNORECASE)


def context_of(additional_info: str) -> int | None:
    """The declared context length in tokens; None where there is none, or nought."""
    found = _CONTEXT.search(additional_info)
    return (int(found[1]) or None) if found else None
