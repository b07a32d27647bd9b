"""What a report proves and what it does not, in sentences. Made from stored rows alone.

A sentence stands under "proves" only where every row that it rests on passed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.dateformat import format as date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from attestation import words
from attestation.engine import binding
from attestation.engine.verdicts import ANCHOR_ROW, is_unseen
from attestation.models import Endpoint, Verification

#: The guest's system: firmware, kernel, and what it starts. It writes the log and names the key.
_SYSTEM = ("tdx.mr_td", "tdx.rtmr1", "tdx.rtmr2")
#: Seconds. What was judged longer after its own moment was judged in the past.
_MOMENT = 3600
_NAMED = 4
_AGREES = "tdx.qvl"
_GPU = re.compile(r"gpu\d+\.parse")


def proven(run: Verification) -> Iterable[str]:
    """What one may rely on."""
    if run.development:
        return  # the development root vouches for nothing outside this network
    answers, rows, facts = run.questions, _verdicts(run), run.facts
    # Of evidence that somebody brought, chain values and nonce are that somebody's own words.
    ours = run.endpoint != Endpoint.UPLOAD
    if genuine(run):
        yield _genuine(facts.get("tcb_status"))
        if _names_key(run, rows):
            yield _key(run.attested_signer, named=ours)
        if "pass" in (rows.get("dstack.compose"), rows.get("ccel.compose")):
            if _published(rows):
                yield _("It was started with exactly the compose file shown below.")
            else:
                yield _("Its log names exactly the compose file shown below.")
        if rows.get("bind.nonce") == "pass" and ours:
            yield _("It answered a random number that we had chosen a moment before.")
    count = len(run.gpu_serials)
    if answers.get("gpu") in ("pass", "warn") and count:
        yield ngettext(
            "%(count)s GPU is genuine NVIDIA hardware.",
            "%(count)s GPUs are genuine NVIDIA hardware.",
            count,
        ) % {"count": count}
    elif answers.get("gpu") == "partial" and count:
        yield ngettext(
            "%(count)s GPU with a key that NVIDIA vouches for signed this evidence.",
            "%(count)s GPUs with keys that NVIDIA vouches for signed this evidence.",
            count,
        ) % {"count": count}


def genuine(run: Verification) -> bool:
    """Whether hardware that Intel vouches for made it: not where Intel's documents are missing."""
    rows = _verdicts(run)
    signed = rows.get("tdx.sig") == rows.get("tdx.att_key") == rows.get("tdx.pck_chain") == "pass"
    return signed and run.questions.get("hardware") in ("pass", "warn", "partial")


def _names_key(run: Verification, rows: Mapping[str, str]) -> bool:
    """Whether it names the key that the chain names; worth what the machine is."""
    said = run.questions.get("key") in ("pass", "warn") and rows.get("bind.onchain") == "pass"
    return said and not may_be_lent(run)


def may_be_lent(run: Verification) -> bool:
    """Whether somebody else's machine may have been asked for this quote: a proxy that signs with
    ed25519 puts the asker's nonce where layout v1 has the key (attestation.md 8). No asker writes
    the log.
    """
    rows = _verdicts(run)
    logged = rows.get("bind.ledger") == rows.get("dstack.rtmr3") == "pass"
    return run.facts.get("report_data_layout") == binding.V1 and not logged


def _published(rows: Mapping[str, str]) -> bool:
    """Whether the guest's system is one of the published ones that were compared with."""
    return all(rows.get(id) == "pass" for id in _SYSTEM)


def _genuine(status: object) -> str:
    if not status:
        return _("A genuine Intel TDX machine made this evidence.")
    return _("A genuine Intel TDX machine made this evidence, at Intel’s level %(status)s.") % {
        "status": status
    }


def _key(signer: str, *, named: bool) -> str:
    if named:
        text = _("That machine named the key %(key)s as its own, the one that the chain names.")
    else:
        text = _("That machine named the key %(key)s as its own.")
    return text % {"key": signer}


def unproven(run: Verification) -> Iterable[str]:
    """What one may not read into it."""
    answers, rows = run.questions, _verdicts(run)
    if run.development:
        yield _(
            "Anything about real hardware: the roots of trust are this development network’s own."
        )
    if run.endpoint == Endpoint.UPLOAD:
        yield from _brought(run, rows)
    if not genuine(run):
        yield _("That there is a trusted machine at all.")
    if not (genuine(run) and _names_key(run, rows)):
        yield _("That the key which signs answers lives in this machine.")
    if genuine(run) and may_be_lent(run):
        yield _(
            "That this machine chose this key: other machines put a stranger’s bytes where "
            "this form of evidence has it, and no entry of the log names it."
        )
    if genuine(run) and not _published(rows):
        yield _(
            "That the log is true and the key stays inside: both rest on the machine’s system, "
            "which was not found among published values."
        )
    gpus = [id.removesuffix(".parse") for id in rows if _GPU.fullmatch(id)]
    if not gpus:
        yield _("Which GPU ran the model: there is no NVIDIA evidence.")
    elif not _each(gpus, rows, "chain", "sig"):
        yield _("Which GPU ran the model: nothing shows that its evidence is NVIDIA’s.")
    elif answers.get("gpu") in ("fail", "partial") or not _each(gpus, rows, "measurements"):
        yield _("That the GPUs run measured, current firmware.")
    if "gpu.cpu_gpu" in rows:
        yield _("That GPU and CPU are in one machine: on this generation only a number ties them.")
    if answers.get("fresh") != "pass":
        yield _("When the evidence was made: an old report could have been shown again.")
    if rows.get("dstack.images_pinned") == "warn":
        yield _("Which image runs under a tag: tags can be pointed elsewhere.")
    if run.declared == "centralized":
        yield _("Anything about the machine of the third party that runs the model.")
    yield _("That the model’s weights are the ones its name promises.")
    yield _("That the software keeps no copy of what you send: it is identified, not read.")


def _each(gpus: Iterable[str], rows: Mapping[str, str], *checks: str) -> bool:
    """Whether every GPU passed these of its checks."""
    return all(rows.get(f"{gpu}.{check}") == "pass" for gpu in gpus for check in checks)


def warnings(run: Verification) -> Iterable[str]:
    """What "with warnings" stands for; nothing under every other word (decision 21)."""
    if run.overall.removeprefix("dev-") != "warn":
        return
    unseen = [row for row in run.rows if is_unseen(row)]
    if run.endpoint != Endpoint.UPLOAD:
        yield _stopped(unseen)
    elif unseen:
        yield _("Required, but not seen: %(checks)s.") % {"checks": _titles(unseen)}
    for row in run.rows:
        if row["id"] == "tdx.tcb" and row["verdict"] == "warn":
            yield _behind(run.facts)
        elif row["verdict"] == ("warn" if row["required"] else "fail") and row["id"] != ANCHOR_ROW:
            yield _("Weaker than best: “%(check)s”.") % {"check": words.spoken(row["title"])}


def failures(run: Verification) -> Iterable[str]:
    """What "failed" stands for, in words; nothing under every other word."""
    if run.overall != "fail":
        return
    wrong = [
        row
        for row in run.rows
        if row["required"] and row["verdict"] == "fail" and row["id"] != ANCHOR_ROW
    ]
    # The second verifier repeats what the rows say one by one.
    rows = [row for row in wrong if row["id"] != _AGREES] or wrong
    for row in rows[:_NAMED]:
        said = _("Failed: “%(check)s”") % {"check": words.spoken(row["title"])}
        yield f"{said}. {words.advice(row['id'], 'fail', provider=False)}".rstrip()
    if len(rows) > _NAMED:
        yield _("and %(count)s more") % {"count": len(rows) - _NAMED}


def _stopped(unseen: Sequence[Mapping[str, Any]]) -> str:
    """What a warning means for sending: it outranks what is missing in the one word (11)."""
    if not unseen:
        return _("Nothing required is missing: these alone do not stop “Only send if verified”.")
    return _("Required, but not seen: %(checks)s. “Only send if verified” sends nothing there.") % {
        "checks": _titles(unseen)
    }


def _titles(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first few, as they are called on the page."""
    return ", ".join(f"“{words.spoken(row['title'])}”" for row in rows[:_NAMED])


def _behind(facts: Mapping[str, Any]) -> str:
    """Firmware with known weaknesses, by Intel's own word for its level."""
    status, advisories = str(facts.get("tcb_status") or "?"), facts.get("advisory_ids")
    if not isinstance(advisories, list) or not advisories:
        return _("The machine is not at Intel’s newest level: %(status)s.") % {"status": status}
    return _(
        "The machine is not at Intel’s newest level: %(status)s. What Intel describes in "
        "%(advisories)s may work against it."
    ) % {"status": status, "advisories": ", ".join(map(str, advisories))}


def _brought(run: Verification, rows: dict[str, str]) -> Iterable[str]:
    """What only whoever brought it says: nobody here asked the chain or chose a number."""
    if rows.get("bind.onchain") == "pass":
        yield _("That the chain names this key: that was said by whoever brought the evidence.")
    if rows.get("bind.nonce") == "pass":
        yield _("That it was made now: the number it answers came with it.")
    if run.finished_at.timestamp() - run.now_unix > _MOMENT:
        at = dt.datetime.fromtimestamp(run.now_unix, dt.UTC)
        yield _(
            "That it still holds: it was judged as of %(day)s, the time it was brought "
            "with, by documents of then."
        ) % {"day": date_format(at, "d F Y")}


def _verdicts(run: Verification) -> dict[str, str]:
    return {row["id"]: row["verdict"] for row in run.rows}
