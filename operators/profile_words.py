"""Which words an operator may say about itself. Pure.

A name stands beside listings, so it is an attack until it is checked: characters that cannot be
seen, that turn the line round, that look like others, or that look like our own marks.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from operators.listing import unseen

MAX_NAME, MAX_CONTACT, MAX_NOTE, MAX_LINKS, MAX_URL = 40, 120, 500, 4, 200
#: Scripts that a name may be written in.
_SCRIPTS = {
    *("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "HANGUL"),
    *("CJK", "HIRAGANA", "KATAKANA"),
}
#: Scripts that are written together, and do not look alike (UTS 39, "highly restrictive").
_TOGETHER = ({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}, {"LATIN", "CJK", "HANGUL"})
_PUNCTUATION = set(" .-&'()+,")
#: Latin letters that are no accented ASCII and still look like themselves.
_LATIN = set("ßæœøđłþðÆŒØĐŁÞÐ")
#: Letters that look like Latin ones: a name of these alone reads as another name.
_LOOKALIKES = {
    "CYRILLIC": set("аеорсухіјѕһԁԛԝАВЕЅІЈКМНОРСТХҮӀӏгпкт"),
    "GREEK": set("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονραιυκτ"),
}
_CLAIMS = re.compile(
    r"\b(?:0g|zero ?g(?:ravity)?|official|verified|trusted|admin|moderator|support)\b", re.I
)
_HOST = re.compile(
    r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
)
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,100}\.[A-Za-z]{2,20}")


def name(text: str) -> str:
    """A provider's name. Raises ValueError with a sentence for a person."""
    text = " ".join(unicodedata.normalize("NFC", text).split(" ")).strip()
    if not 2 <= len(text) <= MAX_NAME:
        raise ValueError(_("A name has 2 to %(most)s characters.") % {"most": MAX_NAME})
    if unicodedata.normalize("NFKC", text) != text:
        raise ValueError(_("Write it in ordinary letters: some of these only look like letters."))
    scripts = {_script(c) for c in text if not (c in _PUNCTUATION or c in "0123456789")}
    if not scripts:
        raise ValueError(_("A name needs letters."))
    if len(scripts) > 1 and not any(scripts <= those for those in _TOGETHER):
        raise ValueError(_("A name is written in one script: mixed ones look like other names."))
    letters = {c for c in text if _letter(c)}
    for script, alike in _LOOKALIKES.items():
        if scripts == {script} and letters <= alike:
            raise ValueError(_("All of these letters look like Latin ones: write it in Latin."))
    if "  " in text or _stacked(text):
        raise ValueError(_("It has spaces or accents piled up."))
    claim = _CLAIMS.search(text)
    if claim:
        raise ValueError(
            _("“%(claim)s” would say something about you that only others can say.")
            % {"claim": claim[0]}
        )
    return text


def _letter(c: str) -> bool:
    return unicodedata.category(c)[0] == "L"


def _script(c: str) -> str:
    """The script of a letter or of a mark that its script writes with. Raises ValueError."""
    # The name of a long-vowel mark begins with two scripts, of which one is enough.
    known = unicodedata.name(c, "").split(" ")[0].split("-")[0]
    kind = unicodedata.category(c)[0]
    if known not in _SCRIPTS or kind not in ("L", "M"):
        raise ValueError(
            _(
                "Letters of one script, digits, spaces and . - & ' ( ) + , are what a name is made "
                "of."
            )
        )
    if known == "LATIN" and not (_ascii_below(c) or c in _LATIN):
        raise ValueError(_("Write it in ordinary letters: some of these only look like letters."))
    return known


def _ascii_below(c: str) -> bool:
    return unicodedata.normalize("NFD", c)[0].isascii()


def _stacked(text: str) -> bool:
    marks = 0
    for c in unicodedata.normalize("NFD", text):
        marks = marks + 1 if unicodedata.category(c)[0] == "M" else 0
        if marks > 2:
            return True
    return False


def prose(text: str, most: int = MAX_NOTE) -> str:
    """A few sentences. Raises ValueError."""
    text = text.strip()
    if not text:
        raise ValueError(_("Say in a few words what it is about."))
    if len(text) > most:
        raise ValueError(
            _("At most %(most)s characters; this has %(count)s.")
            % {"most": most, "count": len(text)}
        )
    if any(unseen(c) for c in text) or _stacked(text):
        raise ValueError(_("It contains line breaks or characters that hide or reorder text."))
    return text


def contact(text: str) -> str:
    """A mail address or an https URL; empty is allowed. Raises ValueError."""
    text = text.strip()
    if not text or (len(text) <= MAX_CONTACT and _MAIL.fullmatch(text)):
        return text
    try:
        return link(text)
    except ValueError:
        raise ValueError(_("Enter a mail address or an https:// address.")) from None


def link(text: str) -> str:
    """An https URL of a host that is a plain name. Raises ValueError."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        fine = (
            len(text) <= MAX_URL
            and text.isascii()
            and not any(c <= " " or c in "\\\"<>^`{|}'\x7f" for c in text)
            and parts.scheme == "https"
            and "@" not in parts.netloc
            and parts.port is None
            and bool(_HOST.fullmatch(parts.hostname or ""))
        )
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(
            _("Enter an https:// address of at most %(most)s plain characters.") % {"most": MAX_URL}
        )
    return text


def links(text: str) -> list[str]:
    """One address on each line. Raises ValueError."""
    found = [link(line) for line in text.splitlines() if line.strip()]
    if len(found) > MAX_LINKS:
        raise ValueError(_("At most %(most)s links.") % {"most": MAX_LINKS})
    return found


def domain(text: str, *, local: bool = False) -> str:
    """A host name in lower case, empty is allowed; `local`: with a port too, for a development
    network. Raises ValueError."""
    text = text.strip().lower().removesuffix(".")
    if not text or _HOST.fullmatch(text):
        return text
    if local and re.fullmatch(r"(?:127\.0\.0\.1|localhost):[0-9]{4,5}", text):
        return text
    raise ValueError(_("Enter a plain host name, for example example.com."))
