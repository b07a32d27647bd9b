"""Rows that compare measured software with published values and with what the listing declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attestation.engine.evidence import Context
from attestation.engine.verdicts import NOT_CHECKED, PASS, WARN, Report, Verdict
from net.marks import N_

#: Digests that a listing may declare; the rest is not looked at.
MAX_DECLARED = 8
_NAMED = 10
_NOT_MEASURED = N_("this file is not measured, so it says nothing about what runs")
UNREAD = N_("the compose file may name more images than could be read")


def compose(
    prefix: str, group: str, found: str | None, measured: bool, context: Context, report: Report
) -> None:
    """Whether the compose file is one of the references; no row where they name none.

    `measured`: the registers vouch for this file; of any other its hash says nothing.
    """
    known = context.policy.composes
    if known is None or not found:
        return
    about = known.get(found)
    verdict: Verdict = PASS if about else WARN
    detail = f"published: {about}" if about else N_("not in the reference file")
    if not measured:
        verdict, detail = NOT_CHECKED, _NOT_MEASURED
    report.add(
        f"{prefix}.compose_known",
        group,
        N_("Compose file is one of the published ones"),
        verdict,
        expected="a hash of the reference file",
        got=found,
        detail=detail,
        source="reference file of whoever judges",
        required=False,
    )


def images(
    prefix: str,
    group: str,
    references: Iterable[dict[str, str | None]],
    read: bool,
    measured: bool,
    context: Context,
    report: Report,
) -> None:
    """Whether every image of the compose file is one of the references.

    `read`: the file names no others than these.
    """
    known = context.policy.images
    listed = [(str(image["ref"]), image["digest"] or "") for image in references]
    if known is None or not listed:
        return
    strange = [name for name, digest in listed if digest not in known]
    labels = sorted({str(known[digest]) for _name, digest in listed if digest in known})
    verdict: Verdict = WARN if strange else PASS
    detail = "; ".join(labels[:_NAMED])
    if not measured:
        verdict, detail = NOT_CHECKED, _NOT_MEASURED
    elif not read and not strange:
        verdict, detail = NOT_CHECKED, UNREAD
    report.add(
        f"{prefix}.images_known",
        group,
        N_("Every container image is one of the published ones"),
        verdict,
        expected="digests of the reference file",
        got=", ".join(strange) or f"{len(listed)} known",
        detail=detail,
        source="docker_compose_file and the reference file of whoever judges",
        required=False,
    )


def declared(
    prefix: str,
    group: str,
    measured: Sequence[str] | None,
    read: bool,
    whole: bool,
    context: Context,
    report: Report,
) -> None:
    """The image that the listing declares beside those that were measured.

    `measured`: digests (hex) that the registers vouch for, None where they vouch for no image;
    `read`: the file names no others; `whole`: nothing else can run. A claim proves nothing
    (attestation.md, decision 6): the row can show that it differs, and no more than a warning that
    no overall word counts.
    """
    claimed = tuple(context.declared_images)
    if not claimed:
        return
    verdict: Verdict = NOT_CHECKED
    if measured is None:
        detail = N_("no image is measured here that it could be compared with")
    elif set(claimed) <= set(measured):
        verdict, detail = PASS, N_("the claim is true; it proves nothing more")
        if not (read and whole and set(claimed) == set(measured)):
            detail = N_("true: it is among the measured images; it proves nothing more")
    elif not read:
        detail = UNREAD
    elif whole and measured:
        verdict, detail = WARN, N_("the listing declares another image than is measured")
    else:
        detail = N_("the measured compose file names images by tags, which fix none")
    report.add(
        f"{prefix}.declared_image",
        group,
        N_("Image that the listing declares is the measured one"),
        verdict,
        expected=", ".join(f"sha256:{digest}" for digest in claimed),
        got=", ".join(f"sha256:{digest}" for digest in measured or ()) or None,
        detail=detail,
        source="additionalInfo on chain, and the measured compose file or ledger",
        required=False,
    )
