"""What a check found, and what the operator should do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """One line: `name` is what was looked at, `said` what was seen, `fix` what to do about it.

    fail: users cannot be served, or money may be lost. warn: it works and could be better.
    skip: could not be looked at.
    """

    name: str
    state: State
    said: str
    fix: str = ""


def passed(findings: Sequence[Finding]) -> bool:
    """Whether the broker can open."""
    return not any(finding.state == "fail" for finding in findings)


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """As JSON."""
    return {"ok": passed(findings), "findings": [asdict(finding) for finding in findings]}


def text(findings: Sequence[Finding]) -> str:
    """As lines for a terminal."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:4}  {finding.name}: {finding.said}")
        if finding.fix and finding.state != "ok":
            lines.append(f"      → {finding.fix}")
    counts = {
        state: sum(finding.state == state for finding in findings) for state in ("fail", "warn")
    }
    verdict = "ready to open" if passed(findings) else "not ready"
    lines.append(f"{verdict}: {counts['fail']} to mend, {counts['warn']} to consider")
    return "\n".join(lines)
