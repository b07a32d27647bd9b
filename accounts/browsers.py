"""A browser's word about itself as people call it: `Firefox on Linux`. Pure.

Names only tell one's sessions apart, so a short list does; what is on none is shown as it was said.
"""

from __future__ import annotations

from django.utils.translation import gettext as _

#: The first that is in the text is it: most browsers also call themselves by others' names.
_NAMES = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def name(agent: str) -> str:
    """`agent` is a User-Agent header, a stranger's; "" where it names no browser that is known."""
    browser = next((called for mark, called in _NAMES if mark in agent), "")
    system = next((called for mark, called in _SYSTEMS if mark in agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser
