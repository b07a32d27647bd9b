"""What Atom feeds say in strangers' words."""

from __future__ import annotations


def xml_text(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold: a provider's string must not break
    the feed.
    """
    return "".join(
        character
        if character in "\t\n"
        or " " <= character < "\ud800"
        or "\ue000" <= character < "\ufffe"
        or character >= "\U00010000"
        else "\ufffd"
        for character in text
    )
