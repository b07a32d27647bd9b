"""The filters of the services list: a query string becomes a `Filters`, a `ServiceQuery`, and a
query string again. The pages, their JSON, CSV and Atom twins all read the same one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import money
from accounts.http import page_number
from attestation import selectors as attestation
from ledger import selectors
from ledger.models import Kind
from ledger.selectors import Condition, ServiceQuery
from marketplace import conditions, formats, links, names, parts, verdicts
from marketplace.conditions import Listed
from marketplace.tariffs import MOST_PER_DAY, Workload
from moderation import selectors as moderation
from moderation.selectors import Labelled, label_word
from probes import selectors as probes

MAX_QUERY = 200

VERDICTS = ("pass", "warn", "partial", "fail", "not_provided", "expired", "never")
#: Two verdicts that many ask for together; any others can be joined by a comma as well.
SOUND = "pass,warn"
UPTIMES = ("99.9", "99", "95")
CONTEXTS = ("8000", "32000", "128000", "500000")
STAKES = ("100", "200", "1000")
PROVEN_LABELS = {
    "cpu": gettext_noop("Proven: Intel TDX"),
    "gpu": gettext_noop("Proven: NVIDIA GPU"),
}
#: `tee=` of services that declare no kind of evidence.
NO_TEE = "none"
VIEWS = ("table", "cards")
#: Columns that can be left out: all but the model, and the month that a workload costs.
COLUMNS = {
    "provider": gettext_noop("Provider"),
    "input": gettext_noop("Input"),
    "output": gettext_noop("Output"),
    "ttft": gettext_noop("First token"),
    "speed": gettext_noop("Speed"),
    "uptime": gettext_noop("Uptime 7 d"),
    "verification": gettext_noop("Verification"),
    "updated": gettext_noop("Changed"),
}
#: How the same list is shown: nothing for programs.
SHOWING = ("view", "exact", "columns", "rows")

_TEE = re.compile(r"[a-z0-9_.-]{1,40}")
#: Filters that decide which services are listed, in the order in which they are said.
SELECTING = (
    "q", "kind", "type", "model", "verified", "proven", "tee", "uptime", "max_in", "max_out",
    "context", "stake", "answers", "acknowledged", "free", "label", "watched",
)  # fmt: skip
WORKLOAD = ("requests", "tokens_in", "tokens_out", "tokens_cached")
PRICES = ("max_in", "max_out")
FIELD_LABELS = {
    "max_in": gettext_noop("Input up to"),
    "max_out": gettext_noop("Output up to"),
    "tokens_in": gettext_noop("Tokens in"),
    "tokens_cached": gettext_noop("Tokens cached"),
    "tokens_out": gettext_noop("Tokens out"),
    "requests": gettext_noop("Requests"),
}
SORTS = (*selectors.SORTS, *probes.SORTS, "cost")


@dataclass(frozen=True)
class Filters:
    """What somebody asked for, each in its canonical text; empty means any.

    `type` is a service type or `fine-tuning`; `max_in`, `max_out` are 0G in the unit of their
    column; `context` tokens, `uptime` percent of 7 days, `stake` 0G; `requests` and `tokens_*` are
    a workload per day; `columns` those that are shown, joined by points. `mine`: the listings that
    `watched` stands for. `unread`: what was typed as a price and is none, or for a workload and is
    no number of a day, by name.
    """

    q: str = ""
    kind: str = ""
    type: str = ""
    model: str = ""
    verified: str = ""
    proven: str = ""
    tee: str = ""
    uptime: str = ""
    max_in: str = ""
    max_out: str = ""
    context: str = ""
    stake: str = ""
    answers: str = ""
    acknowledged: str = ""
    free: str = ""
    label: str = ""
    watched: str = ""
    requests: str = ""
    tokens_in: str = ""
    tokens_out: str = ""
    tokens_cached: str = ""
    view: str = "table"
    exact: str = ""
    columns: str = ""
    rows: str = ""
    sort: str = "model"
    page: int = 1
    mine: frozenset[Listed] = frozenset()
    unread: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, str], mine: frozenset[Listed] = frozenset()) -> Filters:
        """Never an error: what makes no sense is what a visitor did not ask for."""

        def text(name: str) -> str:
            return given.get(name, "").replace("\x00", "").strip()[:MAX_QUERY]

        def one_of(name: str, known: Mapping[str, str] | tuple[str, ...]) -> str:
            return text(name) if text(name) in known else ""

        kind = one_of("kind", selectors.KINDS)
        found = cls(
            q=text("q"),
            kind=kind if kind != Kind.FINE_TUNING or text("type") else "",
            type=text("type") or (kind if kind == Kind.FINE_TUNING else ""),
            # A model is matched whole; its name may be long.
            model=given.get("model", "").replace("\x00", ""),
            verified=verdicts_text(text("verified")),
            proven=one_of("proven", PROVEN_LABELS),
            tee=tee_text(text("tee")),
            uptime=one_of("uptime", UPTIMES),
            max_in=price_text(text("max_in")),
            max_out=price_text(text("max_out")),
            context=number_text(text("context"), 10**9 - 1),
            stake=number_text(text("stake"), 10**12),
            answers="1" if text("answers") == "1" else "",
            acknowledged="1" if text("acknowledged") == "1" else "",
            free="1" if text("free") == "1" else "",
            label=label_text(text("label")),
            watched="1" if text("watched") == "1" else "",
            requests=number_text(text("requests"), MOST_PER_DAY),
            tokens_in=number_text(text("tokens_in"), MOST_PER_DAY),
            tokens_out=number_text(text("tokens_out"), MOST_PER_DAY),
            tokens_cached=number_text(text("tokens_cached"), MOST_PER_DAY),
            view=one_of("view", VIEWS) or "table",
            exact="1" if text("exact") == "1" else "",
            columns=columns_text(text("columns")),
            rows="compact" if text("rows") == "compact" else "",
            page=page_number(given.get("page", "")),
            mine=mine,
            unread=tuple(
                (name, text(name))
                for name in PRICES + WORKLOAD
                if text(name) and not _readable(name, text(name))
            ),
        )
        sort = text("sort")
        return replace(found, sort=sort if sort.removeprefix("-") in SORTS else found.default_sort)

    def at(self, page: int) -> Filters:
        """The same list, another page of it."""
        return replace(self, page=page)

    @property
    def typed(self) -> dict[str, str]:
        """Prices and a workload as they stand in their fields, also what cannot be read."""
        return {**{name: getattr(self, name) for name in PRICES + WORKLOAD}, **dict(self.unread)}

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that are shown, the model among them; none where all are."""
        return tuple(self.columns.split(".")) if self.columns else ()

    @property
    def workload_given(self) -> dict[str, str]:
        """A workload as a URL says it."""
        return {name: text for name, text in self.given.items() if name in WORKLOAD}

    @property
    def refused(self) -> tuple[str, ...]:
        """What was typed and is not counted, each in a sentence."""
        said = {
            True: _("%(field)s: “%(text)s” is not counted. Give 0G with a point, like 0.5."),
            False: _("%(field)s: “%(text)s” is not counted. Give a whole number, up to %(most)s."),
        }
        return tuple(
            said[name in PRICES]
            % {
                "field": _(FIELD_LABELS[name]),
                "text": formats.clip(parts.name(text), 40),
                "most": f"{MOST_PER_DAY:,}",
            }
            for name, text in self.unread
        )

    @property
    def default_sort(self) -> str:
        """The order where none is chosen: who says what they need asks what it costs."""
        return "cost" if self.workload is not None else "model"

    @property
    def workload(self) -> Workload | None:
        """None unless some tokens are named; without a count, requests are of 1,000 tokens in."""
        given, answered = int(self.tokens_in or 0), int(self.tokens_out or 0)
        if not given and not answered:
            return None
        requests = int(self.requests or 0) or max(1, given // 1_000)
        return Workload(given, answered, min(int(self.tokens_cached or 0), given), requests)

    @cached_property
    def _conditions(self) -> dict[str, Condition]:
        """By filter (at most 5 queries: what the named apps know changes without the chain)."""
        found: dict[str, Condition | None] = {
            "verified": _verified(self.verified),
            "proven": conditions.Proven(self.proven, attestation.state()) if self.proven else None,
            "tee": conditions.Declares("" if self.tee == NO_TEE else self.tee)
            if self.tee
            else None,
            "uptime": probes.reliable(hundredths(self.uptime)) if self.uptime else None,
            "max_in": conditions.InputUpTo(money.parse(self.max_in)) if self.max_in else None,
            "max_out": conditions.OutputUpTo(money.parse(self.max_out)) if self.max_out else None,
            "context": conditions.ContextFrom(int(self.context)) if self.context else None,
            "stake": conditions.StakeFrom(int(self.stake) * formats.ONE) if self.stake else None,
            "answers": probes.answering() if self.answers else None,
            "acknowledged": conditions.Acknowledged() if self.acknowledged else None,
            "free": conditions.Free() if self.free else None,
            "label": Labelled(self.label, moderation.state()) if self.label else None,
            "watched": conditions.Watched(self.mine) if self.watched else None,
        }
        return {name: condition for name, condition in found.items() if condition is not None}

    @cached_property
    def _known_as(self) -> tuple[tuple[str, ...], ...]:
        return names.known_as(self.q)

    @property
    def query(self) -> ServiceQuery:
        return self.query_without()

    def query_without(self, *lifted: str) -> ServiceQuery:
        """The query with these filters lifted."""
        own = ("q", "kind", "type", "model")
        text = {name: "" if name in lifted else getattr(self, name) for name in own}
        fine_tuning = text["type"] == Kind.FINE_TUNING and text["kind"] != Kind.INFERENCE
        kept = tuple(part for name, part in self._conditions.items() if name not in lifted)
        return ServiceQuery(
            kind=text["kind"] or (Kind.FINE_TUNING.value if fine_tuning else ""),
            type="" if fine_tuning else text["type"],
            q=text["q"],
            model=text["model"],
            where=conditions.every(kept),
            known_as=self._known_as if text["q"] else (),
            sort=self.sort if self.sort.removeprefix("-") in selectors.SORTS else "model",
        )

    @cached_property
    def given(self) -> dict[str, str]:
        """What a URL says of these filters: what differs from the default, without the page."""
        values = {name: getattr(self, name) for name in (*SELECTING, *WORKLOAD, *SHOWING)}
        values["view"] = "" if self.view == "table" else self.view
        values["sort"] = "" if self.sort == self.default_sort else self.sort
        return {name: value for name, value in values.items() if value}

    def path(self, at: str = "/", **changed: str | int) -> str:
        """A page or twin with these filters, some of them changed; back to page 1 unless that is
        given."""
        return links.with_query(at, **{**self.given, **changed})

    def lifted(self, name: str) -> str:
        return self.path(**{name: ""})

    @property
    def active(self) -> dict[str, str]:
        """The selecting filters in use, in words."""
        labels = {
            "q": _("“%(text)s”") % {"text": parts.name(self.q)},
            "kind": parts.kind_label(self.kind),
            "type": parts.type_label(self.type),
            "model": parts.name(self.model),
            "verified": verdict_label(self.verified),
            "proven": proven_label(self.proven),
            "tee": tee_label(self.tee),
            "uptime": uptime_label(self.uptime),
            "max_in": _("Input up to %(amount)s 0G") % {"amount": self.max_in},
            "max_out": _("Output up to %(amount)s 0G") % {"amount": self.max_out},
            "context": context_label(self.context),
            "stake": stake_label(self.stake),
            "answers": _("Answers now"),
            "acknowledged": _("Signer acknowledged"),
            "free": _("Free for fine-tuning"),
            "label": label_said(self.label),
            "watched": _("Watched by you"),
        }
        return {field: labels[field] for field in SELECTING if getattr(self, field)}


def _verified(words: str) -> Condition | None:
    """Any of these verdicts (1 query)."""
    first, *more = words.split(",")
    one = attestation.verified(first)
    if one is None or not more:
        return one
    return conditions.AnyOf((one, *(replace(one, word=word) for word in more)))


def verdicts_text(text: str) -> str:
    """Words of our verdicts, joined by commas in the order of the page; empty for anything else."""
    asked = set(text.split(","))
    known = (*VERDICTS, "not_checked")
    return ",".join(word for word in known if word in asked) if asked <= set(known) else ""


def verdict_label(words: str) -> str:
    if words == SOUND:
        return _("Verified, also with warnings")
    return _(" or ").join(verdicts.word(word).text for word in words.split(","))


def proven_label(part: str) -> str:
    return _(PROVEN_LABELS.get(part, ""))


def uptime_label(percent: str) -> str:
    return _("Up %(percent)s %% or more") % {"percent": percent}


def context_label(tokens: str) -> str:
    return _("Context %(tokens)s or more") % {"tokens": formats.count(int(tokens or 0))}


def stake_label(amount: str) -> str:
    return _("Stake %(amount)s 0G or more") % {"amount": f"{int(amount or 0):,}"}


def tee_label(word: str) -> str:
    """What a service declares, never what it has."""
    return _("Declares no TEE") if word == NO_TEE else _("Declares %(what)s") % {"what": word}


def label_text(text: str) -> str:
    """A label of moderators in its one spelling; empty for anything else."""
    return text if text == moderation.FLAGGED_WORD else label_word(text)


def label_said(word: str) -> str:
    """What moderators declared, never what was checked."""
    if word == moderation.FLAGGED_WORD:
        return _("Flagged by moderators")
    return _("Labelled “%(label)s”") % {"label": word}


def number_text(text: str, most: int) -> str:
    """A whole number of 1 to `most` as its digits; empty for anything else."""
    number = _number(text)
    return str(number) if 0 < number <= most else ""


def _readable(name: str, text: str) -> bool:
    """Whether it is a price, or a number of a day: nought is one, more than anybody has is not."""
    return bool(price_text(text)) if name in PRICES else 0 <= _number(text) <= MOST_PER_DAY


def _number(text: str) -> int:
    """-1 for what is none."""
    digits = text.replace(",", "").replace("_", "")
    plain = digits.isascii() and digits.isdigit() and len(digits) < 20
    return int(digits) if plain else -1


def price_text(text: str) -> str:
    """A price in 0G as plain decimals; empty for anything else."""
    return text if money.WRITTEN.fullmatch(text) else ""


def columns_text(text: str) -> str:
    """Columns in the order of the page, the model first; empty for all of them, and where none is
    known."""
    asked = set(text.split("."))
    known = [name for name in COLUMNS if name in asked]
    if len(known) == len(COLUMNS) or not (known or "model" in asked):
        return ""
    return ".".join(("model", *known))


def tee_text(text: str) -> str:
    """A kind of TEE in lower case; empty for anything else."""
    return text.lower() if _TEE.fullmatch(text.lower()) else ""


def hundredths(percent: str) -> int:
    """A percentage as 1/10000: `99.9` is 9990."""
    whole, _, rest = percent.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0")[:2])
