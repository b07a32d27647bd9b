"""Rows that compare measured software with published values and with what the listing declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attestation.engine.evidence import Context
from attestation.engine.verdicts import NOT_CHECKED, PASS, WARN, Report, Verdict
from net.marks import N_

#: Digests that a listing may declare; the rest is not looked at.
MAX_DECLARED = 8
_NAMED = 10


def compose(prefix: str, group: str, found: str | None, context: Context, report: Report) -> None:
    """Whether the compose file is one of the references; no row where they name none."""
    known = context.policy.composes
    if known is None or not found:
        return
    about = known.get(found)
    report.add(
        f"{prefix}.compose_known",
        group,
        N_("Compose file is one of the published ones"),
        PASS if about else WARN,
        expected="a hash of the reference file",
        got=found,
        detail=f"published: {about}" if about else N_("not in the reference file"),
        source="reference file of whoever judges",
        required=False,
    )


def images(
    prefix: str, group: str, references: Iterable[dict[str, str | None]], context: Context,
    report: Report,
) -> None:  # fmt: skip
    """Whether every image of the compose file is one of the references."""
    known = context.policy.images
    listed = list(references)
    if known is None or not listed:
        return
    strange = [str(image["ref"]) for image in listed if (image["digest"] or "") not in known]
    labels = sorted({str(known[image["digest"] or ""]) for image in listed
                     if (image["digest"] or "") in known})  # fmt: skip
    report.add(
        f"{prefix}.images_known",
        group,
        N_("Every container image is one of the published ones"),
        WARN if strange else PASS,
        expected="digests of the reference file",
        got=", ".join(strange) or f"{len(listed)} known",
        detail="; ".join(labels[:_NAMED]),
        source="docker_compose_file and the reference file of whoever judges",
        required=False,
    )


def declared(
    prefix: str,
    group: str,
    measured: Sequence[str] | None,
    whole: bool,
    context: Context,
    report: Report,
) -> None:
    """The image that the listing declares beside those that were measured.

    `measured`: digests (hex) that the registers vouch for, None where they vouch for no image;
    `whole`: nothing else can run. A claim proves nothing (attestation.md, decision 6): the row can
    show that it differs, and no more than a warning that no overall word counts.
    """
    claimed = tuple(context.declared_images)
    if not claimed:
        return
    verdict: Verdict = NOT_CHECKED
    if measured is None:
        detail = N_("no image is measured here that it could be compared with")
    elif set(claimed) & set(measured):
        verdict, detail = PASS, N_("the claim is true; it proves nothing more")
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
