"""Atom feeds of this site, and what they say in strangers' words."""

from __future__ import annotations

import datetime as dt
import re

from django.utils.feedgenerator import Atom1Feed

MEDIA = "application/atom+xml; charset=utf-8"
#: When something changed last of which nobody knows when, or that never did: never again.
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

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


class Feed(Atom1Feed):
    """A feed that RFC 4287 allows: with an author (4.1.1), and while it is empty with a moment that
    is not each look's own (4.2.15)."""

    def __init__(self, title: str, link: str, feed_url: str) -> None:
        super().__init__(
            title=xml_text(title),
            link=link,
            description="",
            language="en",
            feed_url=feed_url,
            author_name="0G Market",
        )

    def latest_post_date(self) -> dt.datetime:
        return super().latest_post_date() if self.items else NEVER

    def written(self) -> str:
        return str(self.writeString("utf-8"))
