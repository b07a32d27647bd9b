"""The report page as frozen dataclasses, made from a stored run and nothing else.

Verdicts are the stored rows'; the exhibits are read from the stored body. Strings in rows are a
stranger's: templates escape them.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import ngettext

from attestation import (
    brought,
    claims,
    exhibits,
    fields,
    published,
    reproduce,
    runs,
    trust,
    values,
    words,
)
from attestation.engine.verdicts import NOTES, QUESTIONS, Question, asks, is_unseen, marked, told
from attestation.exhibits import Exhibits
from attestation.fields import FieldGroup, Key
from attestation.history import HistoryEntry, ReportView
from attestation.models import Endpoint, Verification
from attestation.printing import QUESTIONS as TITLES
from attestation.reproduce import Command
from attestation.selectors import FindingView
from attestation.sources import needs

_WORST = ("fail", "warn", "not_provided", "not_checked", "pass")
#: Words of a later check ("" without one) that take no failure back: silence does not.
_NOTHING_BETTER = ("", "fail", "not_provided", "not_checked")
_GPU = "GPU "
_NAMED = 3
#: The only row of a service that claims nothing: its provider was asked for nothing.
_LABEL = "service.kind"
#: The row that names Intel's advisories.
_ADVISED = ("tdx.tcb", "warn")
#: The rows that say whether evidence chains to the pinned roots.
_CHAIN = re.compile(r"tdx\.pck_chain|gpu\d+\.chain")


@dataclass(frozen=True)
class CheckRow:
    """One stored row, ready to read; `open` where it has to be seen without a click.

    `detail_lang` is "en" where the detail stands as it was stored, in English.
    """

    id: str
    title: str
    verdict: str
    expected: values.Value | None
    got: values.Value | None
    detail: str
    detail_lang: str
    source: str
    required: bool
    advice: str
    who: str
    note: bool
    open: bool


@dataclass(frozen=True)
class Group:
    """Rows under one heading. `name`: as stored; `counts`: (verdict, how many), worst first."""

    name: str
    title: str
    anchor: str
    rows: tuple[CheckRow, ...]
    counts: tuple[tuple[str, int], ...]
    open: bool


@dataclass(frozen=True)
class Section:
    """A heading of the page: one group, or all GPUs. `same`: every GPU got the same verdicts."""

    title: str
    groups: tuple[Group, ...]
    same: bool = False

    @property
    def repeated(self) -> bool:
        return len(self.groups) > 1


@dataclass(frozen=True)
class QuestionRow:
    """`chip`: the answer as people get it (`verdicts.told`), `dev-` under development anchors."""

    name: str
    title: str
    chip: str
    why: str
    fact: str


@dataclass(frozen=True)
class Since:
    """What is known of the same machine after the run: no part of it, nor of its hash.

    `newer`: the newest verdict after this one; `newest`: this one is the newest.
    """

    expired: bool
    newer: HistoryEntry | None
    newest: bool


@dataclass(frozen=True)
class ReportPage:
    """`overall` is the run's own word; `shown` says `expired` where it is older than a day.

    `permalink`: the address that holds the start of the content hash, too. `by_word`: see
    `brought.by_word`; `own_roots`: something in it chains to the roots that it was judged by.
    """

    run: Verification
    overall: str
    shown: str
    development: bool
    about: str
    why: str
    declared: str
    questions: tuple[QuestionRow, ...]
    proven: tuple[str, ...]
    unproven: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]
    keys: tuple[Key, ...]
    sections: tuple[Section, ...]
    exhibits: Exhibits
    fields: tuple[FieldGroup, ...]
    since: Since | None
    findings: tuple[FindingView, ...]
    history: tuple[HistoryEntry, ...]
    commands: tuple[Command, ...]
    outside: tuple[Command, ...]
    quote_page: str
    published_by: Mapping[str, Any] | None
    references: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    bundle: str
    upload: bool
    by_word: bool
    own_roots: bool
    permalink: str

    @property
    def id(self) -> uuid.UUID:
        return self.run.pk

    @property
    def at(self) -> dt.datetime:
        return self.run.finished_at

    @property
    def leave(self) -> bool:
        """Whether what failed is still a reason to leave: no later check saw anything better."""
        later = self.since.newer if self.since else None
        seen = later.overall.removeprefix("dev-") if later else ""
        return bool(self.failures) and not self.upload and seen in _NOTHING_BETTER


def report_page(
    view: ReportView,
    history: Sequence[HistoryEntry],
    *,
    now: dt.datetime,
    site: str,
    answered: str | None = None,
) -> ReportPage:
    """The page of one run; `site` is this installation's origin, for the commands.

    `answered`: see `fields.keys`.
    """
    run = view.run
    evidence = runs.evidence_of(run)
    # Others know the vendors' roots only.
    known = evidence is not None and not run.development
    quote, nras = needs.outside(evidence, trust.anchors()) if evidence and known else (b"", b"")
    upload = run.endpoint == "upload"
    bundle = f"/api/v1/verifications/{run.pk}/bundle" if evidence else ""
    return ReportPage(
        run=run,
        overall=run.overall,
        shown=brought.shown(run, now) or "never",
        development=run.development,
        about=words.endpoint(run.endpoint),
        why=words.trigger(run.trigger),
        declared=words.declared(run.declared),
        questions=_questions(run) if run.overall else (),
        proven=tuple(claims.proven(run)),
        unproven=tuple(claims.unproven(run)) if run.overall else (),
        warnings=tuple(claims.warnings(run)),
        failures=tuple(claims.failures(run)),
        keys=fields.keys(run, answered),
        sections=tuple(_sections(run)),
        exhibits=_named(exhibits.of(evidence)) if evidence else Exhibits(),
        fields=fields.groups(run),
        since=None if upload else _since(run, view.newest, brought.expired(run, now)),
        findings=view.findings,
        history=tuple(history),
        commands=reproduce.commands(run, site, bundle) if bundle else (),
        outside=tuple(reproduce.outside(run, quote, nras)),
        quote_page=reproduce.quote_page(quote),
        published_by=reproduce.references(run),
        references=(*run.collateral, *(run.rims or ()), *run.ocsp, *run.nras, *run.jwks),
        notes=tuple(_note(note) for note in run.notes),
        bundle=bundle,
        upload=upload,
        by_word=brought.by_word(run),
        own_roots=any(_CHAIN.fullmatch(row["id"]) and row["verdict"] == "pass" for row in run.rows),
        permalink=f"/verifications/{run.pk}-{run.content_hash[: published.ADDRESS_CHARS]}",
    )


def _since(run: Verification, newest: HistoryEntry | None, old: bool) -> Since | None:
    """None where there is nothing to say."""
    if newest is not None and newest.id == run.pk:
        return Since(old, None, newest=True)
    newer = newest if newest is not None and newest.finished_at > run.finished_at else None
    return Since(old, newer, newest=False) if newer or old else None


def _named(found: Exhibits) -> Exhibits:
    """With titles in the reader's language: what is kept of the evidence is kept in English."""
    return replace(
        found,
        chains=tuple(replace(chain, title=words.spoken(chain.title)) for chain in found.chains),
        raw=tuple(replace(part, title=words.spoken(part.title)) for part in found.raw),
    )


def _note(note: Any) -> str:
    return " ".join(str(part) for part in note.values()) if isinstance(note, dict) else str(note)


# --- questions ------------------------------------------------------------------------------------


def _questions(run: Verification) -> tuple[QuestionRow, ...]:
    forced = run.questions.get("hardware") == "fail"
    answers = told(run.questions, run.rows)
    unasked = brought.unasked(run, answers)
    rows = (_question(run, name, answers.get(name, "not_provided"), forced) for name in QUESTIONS)
    return tuple(_on_their_word(run, row) if row.name in unasked else row for row in rows)


def _on_their_word(run: Verification, row: QuestionRow) -> QuestionRow:
    """A question that is no worse answered only by what came with the evidence."""
    why = row.why
    if row.name == "key":
        why = _(
            "What the chain names is the word of whoever brought it: nobody here asked the chain."
        )
    elif any(one["id"] == "bind.nonce" and one["verdict"] == "pass" for one in run.rows):
        why = _("The number came with the evidence: nobody here had chosen it.")
    return replace(row, chip=marked(brought.PARTIAL, run.development), why=why)


def _question(run: Verification, name: Question, answer: str, forced: bool) -> QuestionRow:
    rows = [row for row in run.rows if asks(name, row["id"])]
    return QuestionRow(
        name=name,
        title=_(TITLES[name]),
        chip=marked(answer, run.development),
        why=_why(
            rows,
            answer,
            forced and name in ("key", "software", "fresh"),
            nothing=_nothing(run),
        ),
        fact=_fact(run, name),
    )


def _nothing(run: Verification) -> str:
    """Why a question has no answer at all."""
    if run.endpoint == Endpoint.UPLOAD:
        return words.advice("", "not_provided", provider=False)
    if [row["id"] for row in run.rows] == [_LABEL]:
        return _("The provider was not asked: the service declares no machine to attest.")
    return _("The provider handed over nothing that answers this.")


def _why(rows: Sequence[Mapping[str, Any]], answer: str, forced: bool, *, nothing: str) -> str:
    if forced and answer == "fail":
        return _("Hardware failed, so nothing that stands in the quote proves anything.")
    if not rows or answer == "not_provided":
        return nothing
    open_rows = sorted(
        (row for row in rows if row["verdict"] != "pass"),
        # First what makes the answer no better than it is.
        key=lambda row: (
            not (answer == "partial" and is_unseen(row)),
            _WORST.index(row["verdict"]),
            not row["required"],
        ),
    )
    if not open_rows:
        if len(rows) == 1:
            return _("The one check passes.")
        return _("All %(count)s checks pass.") % {"count": len(rows)}
    said = [
        _(_SAID[row["verdict"]]) % {"check": words.spoken(row["title"])}
        for row in open_rows[:_NAMED]
    ]
    rest = len(open_rows) - _NAMED
    if rest > 0:
        said.append(_("and %(count)s more") % {"count": rest})
    return "; ".join(said) + "."


_SAID = {
    "fail": N_("Failed: “%(check)s”"),
    "warn": N_("Weak: “%(check)s”"),
    "not_provided": N_("Not handed over: “%(check)s”"),
    "not_checked": N_("Not checked: “%(check)s”"),
}


def _fact(run: Verification, name: str) -> str:
    """The one value that an answer turns on, "" where there is none."""
    facts = run.facts
    if name == "hardware":
        found = (facts.get("tcb_status"), _date(facts.get("tcb_date")), _advisories(facts))
        return " · ".join(str(part) for part in found if part)
    if name == "key":
        return str(run.attested_signer or facts.get("signer") or "")
    if name == "software":
        return values.ends(run.compose_hash)
    if name == "gpu":
        count = sum(key.startswith("gpu") and key[3:].isdigit() for key in facts)
        if not count:
            return ""
        return ngettext("%(count)s GPU", "%(count)s GPUs", count) % {"count": count}
    return f"nonce {values.ends(run.nonce)}" if run.nonce else ""


def _date(value: Any) -> str:
    return _("TCB of %(day)s") % {"day": value[:10]} if isinstance(value, str) else ""


def _advisories(facts: Mapping[str, Any]) -> str:
    named = facts.get("advisory_ids")
    return ", ".join(map(str, named)) if isinstance(named, list) else ""


# --- rows -----------------------------------------------------------------------------------------


def _sections(run: Verification) -> Iterable[Section]:
    grouped: dict[str, list[CheckRow]] = {}
    for row in run.rows:
        made = check_row(
            row,
            kept=run.body_id is not None,
            by_word=brought.says(run, row["id"]),
            provider=run.endpoint != Endpoint.UPLOAD,
        )
        grouped.setdefault(row["group"], []).append(made)
    groups = [_group(name, rows) for name, rows in grouped.items()]
    gpus = tuple(group for group in groups if _is_gpu(group.name))
    shown = False
    for group in groups:
        if not _is_gpu(group.name):
            yield Section(group.title, (group,))
        elif not shown:
            shown = True
            title = _("GPU") if len(gpus) == 1 else _("GPUs, one by one")
            yield Section(title, gpus, _alike(run, gpus))


def _is_gpu(name: str) -> bool:
    return name.startswith(_GPU) and name[len(_GPU) :].isdigit()


def _alike(run: Verification, gpus: Sequence[Group]) -> bool:
    """Whether every GPU got the same verdicts and runs the same firmware."""

    def likeness(group: Group) -> tuple[Any, ...]:
        number = group.name[len(_GPU) :]
        facts = run.facts.get(f"gpu{number}")
        facts = facts if isinstance(facts, dict) else {}
        rows = tuple((row.id.partition(".")[2], row.verdict) for row in group.rows)
        return rows, facts.get("driver"), facts.get("vbios"), facts.get("board")

    return len({likeness(group) for group in gpus}) == 1


def _group(name: str, rows: Sequence[CheckRow]) -> Group:
    verdicts = [row.verdict for row in rows]
    return Group(
        name=name,
        title=words.spoken(name),
        anchor="g-" + "".join(c if c.isalnum() else "-" for c in name.lower()),
        rows=tuple(rows),
        counts=tuple((word, verdicts.count(word)) for word in _WORST if word in verdicts),
        open="fail" in verdicts,
    )


def check_row(
    row: Mapping[str, Any], *, kept: bool, by_word: bool = False, provider: bool = True
) -> CheckRow:
    """One stored row (asdict(Check)); `kept`: the evidence that it is about is stored, too;
    `by_word`: see `brought.says`; `provider`: it is about a known one's."""
    expected, got = values.pair(row["expected"], row["got"], marked=row["verdict"] == "fail")
    detail = words.spoken(row["detail"])
    return CheckRow(
        id=row["id"],
        title=words.spoken(row["title"]),
        verdict=row["verdict"],
        expected=expected,
        got=got,
        detail=detail,
        detail_lang="en" if detail == row["detail"] else "",
        source=row["source"],
        required=row["required"],
        advice=words.advice(row["id"], row["verdict"], provider=provider),
        who=words.who_checked(row["id"], kept=kept, by_word=by_word),
        note=row["id"] in NOTES,
        # Advisories decide whether a warning matters to somebody: they are what it says.
        open=row["verdict"] == "fail" or (row["id"], row["verdict"]) == _ADVISED,
    )
