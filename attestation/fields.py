"""What a run read out of its evidence, field by field, and the keys that it named, compared.

Made from the stored facts: nothing here judges, rows do. Values are a stranger's: templates escape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from attestation import claims, values
from attestation.models import Endpoint, Verification
from protocol.addresses import is_address

#: Characters of one value that a page shows; a stranger may write any number.
_TEXT = 1_000
_LISTED = 40

_QUOTE = (
    ("quote_version", N_("Version of the quote")),
    ("tcb_status", N_("Intel’s level")),
    ("tcb_date", N_("Date of that level")),
    ("tcb_eval", N_("TCB evaluation number")),
    ("advisory_ids", N_("Intel’s advisories")),
    ("fmspc", N_("Platform family (FMSPC)")),
    ("ppid", N_("Processor (PPID)")),
    ("platform_instance_id", N_("Platform instance")),
    ("smt", N_("Hyper-threading")),
    ("dynamic", N_("Dynamic platform")),
    ("cached_keys", N_("Cached keys")),
    ("mr_seam", "MRSEAM"),
    ("mr_td", "MRTD"),
    *((f"rtmr{n}", f"RTMR{n}") for n in range(4)),
    ("mr_config_id", "MRCONFIGID"),
    ("report_data", "report_data"),
    ("report_data_layout", N_("Layout of report_data")),
    ("signer", N_("Key in report_data")),
    ("signed_range_sha256", N_("SHA-256 of the signed part")),
)
_BOOT = (
    ("app-id", N_("App id")),
    ("instance-id", N_("Instance id")),
    ("os-image-hash", N_("Hash of the OS image, as logged")),
)
_GPU = (
    ("driver", N_("Driver")),
    ("vbios", "VBIOS"),
    ("chip", N_("Chip")),
    ("board", N_("Board (project, project SKU, chip SKU)")),
    ("ueid", N_("Serial number (UEID)")),
    ("leaf", N_("Certificate of the device")),
    ("rim_ids", N_("Reference manifests")),
    ("nvdec0", N_("Video decoder (NVDEC0)")),
    ("ppcie", N_("Protected PCIe")),
)

#: Whether two keys are one; "" where one of them is not known.
Equality = Literal["same", "differs", ""]


@dataclass(frozen=True)
class Field:
    title: str
    value: values.Value


@dataclass(frozen=True)
class FieldGroup:
    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Key:
    """One of the keys that have to be one; `said` compares it with the attested one in words.

    `later`: learned after the run, so not part of what it published.
    """

    title: str
    address: str
    equal: Equality
    said: str
    later: bool = False


def groups(run: Verification) -> tuple[FieldGroup, ...]:
    """Parsed fields of quote, boot log and GPUs; only those that are there."""
    gpus = sorted(
        (name for name in run.facts if name.startswith("gpu") and name[3:].isdecimal()),
        key=lambda name: int(name[3:]),
    )
    found = [
        _group(_("Quote"), _QUOTE, run.facts),
        _group(_("Boot log"), _BOOT, run.facts),
        *(
            _group(_("GPU %(number)s") % {"number": name[3:]}, _GPU, run.facts[name])
            for name in gpus
        ),
    ]
    return tuple(group for group in found if group.fields)


def _group(title: str, names: Iterable[tuple[str, str]], facts: Any) -> FieldGroup:
    given = facts if isinstance(facts, Mapping) else {}
    shown = ((label, _text(given.get(name))) for name, label in names)
    fields = ((label, values.one(text)) for label, text in shown)
    return FieldGroup(title, tuple(Field(_(label), value) for label, value in fields if value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(str(part) for part in value[:_LISTED])[:_TEXT]
    return "" if value is None else str(value)[:_TEXT]


def keys(run: Verification, answered: str | None) -> tuple[Key, ...]:
    """The key on chain, the attested one, and the one that signed the newest answer that was
    checked here (`answered`: "" where there is none, None where no answer could be compared).
    """
    claimed = str(run.facts.get("signer") or "")
    lent = claims.genuine(run) and claims.may_be_lent(run)
    attested = _named(run, claimed) if claims.genuine(run) and not lent else ""
    if not (attested or claimed or run.onchain_signer):
        return ()
    found = [_attested(attested, claimed, lent=lent), _chain(run, attested)]
    if run.body_id is None:
        nothing = _("No evidence came, so no key is attested.")
        found[0] = Key(found[0].title, "", "", nothing)
    if answered is not None:
        found.append(_answers(attested, answered))
    return tuple(found)


def _named(run: Verification, claimed: str) -> str:
    """The key that a genuine quote names; of another kind (ed25519) it is no address."""
    return run.attested_signer or ("" if is_address(claimed) else claimed)


def _attested(attested: str, claimed: str, *, lent: bool) -> Key:
    title = _("Attested: the key in the quote")
    if attested and not is_address(attested):
        said = _(
            "The machine named it when it made this evidence. It is not an address, so no signer "
            "on chain equals it."
        )
        return Key(title, attested, "", said)
    if attested:
        return Key(title, attested, "", _("The machine named it when it made this evidence."))
    if lent:
        said = _("Whoever asked for this quote may have chosen it: no entry of the log names it.")
        return Key(title, claimed, "", said)
    if claimed:
        said = _("Named by a quote that is not proven genuine: it counts for nothing.")
        return Key(title, claimed, "", said)
    return Key(title, "", "", _("The evidence names no key that could be read."))


def _chain(run: Verification, attested: str) -> Key:
    title = _("On chain: the signer of the service")
    if run.endpoint == Endpoint.UPLOAD:  # that somebody's word
        title = _("On chain, as it was brought")
    elif run.endpoint == Endpoint.MODEL:
        title = _("On chain: the model’s key, as the listing declares it")
    onchain = run.onchain_signer
    if not onchain:
        return Key(title, "", "", _("Not compared: no signer on chain is known here."))
    if not attested:
        return Key(title, onchain, "", _("Not compared: there is no attested key."))
    if onchain.lower() == attested.lower():
        return Key(title, onchain, "same", _("Equal to the attested key."))
    return Key(title, onchain, "differs", _("Different from the attested key."))


def _answers(attested: str, answered: str) -> Key:
    title = _("Answers: who signed the newest one that was checked here")
    if not answered:
        said = _("No signed answer of this service was checked here yet.")
        return Key(title, "", "", said, later=True)
    if not attested:
        said = _("Not compared: there is no attested key.")
        return Key(title, answered, "", said, later=True)
    if answered.lower() == attested.lower():
        return Key(title, answered, "same", _("Equal to the attested key."), later=True)
    said = _("Different from the attested key of this report; the service may have changed it.")
    return Key(title, answered, "differs", said, later=True)
