"""What is kept in English, in the reader’s language: what is wrong with a setting or with a row
(`protocol` knows no languages), and why a worker got no further.
"""

from __future__ import annotations

import re

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

#: All that `protocol.tuning` and `protocol.datasets` say without values, so that it is translated.
KNOWN = (
    N_("is missing"),
    N_("is not one of the five settings"),
    N_("expected a plain number"),
    N_("expected a whole number"),
    N_("expected a JSON object"),
    N_("expected -1 (no limit) or 1 and more"),
    N_("write it as a decimal, without an exponent"),
    N_("longer than 1 MiB"),
    N_("not valid JSON"),
    N_("the file holds no rows"),
    N_("expected instruction and output, messages, or text"),
    N_("messages: expected a list of messages"),
    N_("messages: nobody is the user"),
    N_("messages: the last one is not the assistant's"),
)
_RANGE = re.compile(r"expected ([0-9.]+) to ([0-9.]+)")
#: With the names of what varies; the first that fits is it.
_ROWS = (
    (re.compile(r"not UTF-8 at byte (?P<byte>\d+)"), N_("not UTF-8 at byte %(byte)s")),
    (
        re.compile(r"not valid JSON: (?P<why>.+) at character (?P<place>\d+)"),
        N_("not valid JSON: %(why)s at character %(place)s"),
    ),
    (
        re.compile(r"a (?P<row>\w+) row in a file of (?P<file>\w+) rows"),
        N_("a %(row)s row in a file of %(file)s rows"),
    ),
    (
        re.compile(r"messages: the (?P<number>\d+)\. is not an object"),
        N_("messages: the %(number)s. is not an object"),
    ),
    (
        re.compile(r"messages: the (?P<number>\d+)\. has no known role"),
        N_("messages: the %(number)s. has no known role"),
    ),
    (
        re.compile(r"messages: the (?P<number>\d+)\. (?P<problem>.+)"),
        N_("messages: the %(number)s. %(problem)s"),
    ),
    (re.compile(r"(?P<key>\w+): expected a text"), N_("%(key)s: expected a text")),
    (re.compile(r"(?P<key>\w+): is empty"), N_("%(key)s: is empty")),
)
#: What a worker says of a provider or of storage; the rest is the network's or the provider's word.
_TOLD = (
    (
        re.compile(r"The provider's answer broke off: (?P<why>.+)\.", re.DOTALL),
        N_("The provider's answer broke off: %(why)s."),
    ),
    (
        re.compile(r"The provider's answer cannot be read: (?P<why>.+)\.", re.DOTALL),
        N_("The provider's answer cannot be read: %(why)s."),
    ),
    (
        re.compile(r"The provider gives no answer: (?P<why>.+)\.", re.DOTALL),
        N_("The provider gives no answer: %(why)s."),
    ),
    (
        re.compile(r"The provider says: (?P<error>.+)\.", re.DOTALL),
        N_("The provider says: %(error)s."),
    ),
    (
        re.compile(r"0G storage gives no answer: (?P<why>.+)\.", re.DOTALL),
        N_("0G storage gives no answer: %(why)s."),
    ),
    (
        re.compile(r"This storage belongs to chain (?P<chain>\d+), not to this network\."),
        N_("This storage belongs to chain %(chain)s, not to this network."),
    ),
    (
        re.compile(r"It is no encrypted model: (?P<why>.+)\.", re.DOTALL),
        N_("It is no encrypted model: %(why)s."),
    ),
)


def of_setting(text: str) -> str:
    if found := _RANGE.fullmatch(text):
        return _("expected %(low)s to %(high)s") % {"low": found[1], "high": found[2]}
    return _(text)


def of_row(text: str) -> str:
    return _said(text, _ROWS)


def told(text: str) -> str:
    """Why something failed, as a worker wrote it down or an error says it."""
    return _said(text, _TOLD)


def _said(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for rule, words in rules:
        if found := rule.fullmatch(text):
            values = found.groupdict()
            if "problem" in values:
                values["problem"] = _said(values["problem"], rules)
            return _(words) % values
    return _(text)
