"""Whether a bundle's `published.json` is what its evidence gives when it is judged here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from attestation import published, runs
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import Report

#: Members that only the site knows: when it asked whom, and which answers it had to hand.
_OF_THE_SITE = frozenset(
    {
        *("id", "hash_version", "kind", "provider", "service_name", "endpoint", "trigger"),
        *("declared", "outcome", "error", "started_at", "finished_at", "http_date", "url"),
        *("status", "references", "notes", "engine_version", "policy_version"),
    }
)
#: What a member or a check may be called on a public page, and how many are.
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,40}")
MOST_NAMED = 8
_CHAIN = ("tee_signer", "tee_signer_acknowledged")
_SAME = "says what was found here; "
_OURS = "it is our report "
_OF_PROVIDER, _OF_FILE = ", of a provider", ", of a file that somebody brought"


@dataclass(frozen=True)
class Comparison:
    """`different`: members and checks that are not the same. `whole`: the document has the hash
    that it names. `rules`: engine, policy and references of the site, "" where they are ours.
    """

    content_hash: str
    whole: bool
    different: tuple[str, ...]
    rules: str

    @property
    def same(self) -> bool:
        return self.whole and not self.different

    def summary(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "content_hash": self.content_hash,
            "hash_fits": self.whole,
            "different": list(self.different),
            "published_by": self.rules,
        }

    def lines(self) -> list[str]:
        """The same for people; what stands in a file names no page, an address does."""
        if not self.whole:
            said = "published.json was changed: it does not have the hash that it names"
        elif self.different:
            said = "not the same as published: " + ", ".join(self.different)
        else:
            said = "the same as published"
        if self.rules and not self.same:
            said += f" (published by {self.rules})"
        return ["", f"{said}; content hash {self.content_hash}"]

    def note(self, ours: UUID | None, *, of_file: bool = False) -> str:
        """One line for a public page, in our words only; `ours`: the report of this site that has
        this hash; `of_file`: what it says of chain and number is the word of whoever brought it.
        """
        if not self.whole:
            return "was changed: it does not have the hash that it names"
        about = _OF_FILE if of_file else _OF_PROVIDER
        whose = "nothing here says who made it" if ours is None else f"{_OURS}{ours}{about}"
        if self.same:
            return _SAME + whose
        known = [name for name in self.different if _NAME.fullmatch(name)][:MOST_NAMED]
        left = len(self.different) - len(known)
        named = ", ".join([*known, *([f"{left} more"] if left else [])])
        rules = ", by other rules or published values" if self.rules else ""
        return f"differs from what was found here in {named}{rules}; {whose}"


def is_ours(notes: Iterable[Any]) -> bool:
    """Whether the notes of a run say that what was brought is a provider's report of this site,
    unchanged. One of a file does not make the next file more than that.
    """
    said = (note.get("text") for note in notes if isinstance(note, dict))
    return any(
        isinstance(text, str) and text.startswith(_SAME + _OURS) and text.endswith(_OF_PROVIDER)
        for text in said
    )


def compare(
    given: Mapping[str, Any], evidence: Evidence, context: Context, report: Report
) -> Comparison:
    """Hold a published document against what was judged. Never raises: it is a stranger's."""
    ours = runs.document(runs.unstored(evidence, context, report))
    try:
        whole = published.hash_of(given) == given.get(published.HASH)
    except (KeyError, TypeError, ValueError, RecursionError):
        whole = False
    made, here = _rules(given), _rules(ours)
    return Comparison(
        content_hash=str(given.get(published.HASH, ""))[:64],
        whole=whole,
        different=tuple(_different(given, ours)),
        rules="" if made == here else made,
    )


def _rules(document: Mapping[str, Any]) -> str:
    """Engine, policy and reference file that a verdict was made by."""
    inputs = document.get("inputs")
    references = inputs.get("references") if isinstance(inputs, dict) else None
    return (
        f"engine {str(document.get('engine_version'))[:40]}, "
        f"policy {str(document.get('policy_version'))[:12]}, "
        f"references {str(references or 'none')[:64]}"
    )


def _different(given: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name in ours:
        if name in _OF_THE_SITE or name == published.HASH:
            continue
        one, other = given.get(name), ours[name]
        if name == "chain":
            one, other = _signer(one), _signer(other)
        if one == other:
            continue
        if name != "checks" or not isinstance(one, list):
            yield name
            continue
        theirs, found = _by_id(one), _by_id(other)
        changed = [id for id in {**theirs, **found} if theirs.get(id) != found.get(id)]
        yield from (f"checks.{id}" for id in changed or ("order",))


def _signer(chain: Any) -> Any:
    return [chain.get(name) for name in _CHAIN] if isinstance(chain, dict) else None


def _by_id(rows: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        id = str(row.get("id"))[:60] if isinstance(row, dict) else "?"
        found.setdefault(id, []).append(row)
    return found
