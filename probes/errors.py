"""Why a service cannot be probed.

NotProbed
  UnknownService   nobody offers it
"""

from __future__ import annotations


class NotProbed(Exception):
    """Base; the text is for people."""


class UnknownService(NotProbed):
    """The address offers no service now."""
