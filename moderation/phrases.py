"""Reasons that are often given, for staff and in words for the public: data that a form offers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """`name` is its value in the form."""

    name: str
    title: str
    reason: str
    public_text: str


TEMPLATES = (
    Template(
        "fine",
        "Nothing to object to",
        "Looked at listing, endpoint and evidence: nothing to object to.",
        "",
    ),
    Template(
        "moved",
        "Endpoint moved, not acknowledged anew",
        "The endpoint is another than the one that was acknowledged.",
        "The endpoint changed after its signing key was acknowledged. Nobody has confirmed that "
        "the same machine answers.",
    ),
    Template(
        "others",
        "Returns other people’s text",
        "Reproduced: answers contain text of other people’s conversations.",
        "The endpoint returned other people’s text.",
    ),
    Template(
        "model",
        "Not the model it claims",
        "Answers do not fit the model that the listing names.",
        "Answers do not fit the model that the listing names.",
    ),
    Template(
        "shared",
        "Evidence of another provider’s machine",
        "The evidence is of a machine that another provider shows too.",
        "It shows evidence of a machine that another provider shows too.",
    ),
    Template(
        "price",
        "Charges more than it lists",
        "Settlements ask for more than prices and counted tokens give.",
        "It asked for more than its listed prices.",
    ),
    Template(
        "name",
        "Pretends to be somebody else",
        "Name, model or links pretend to be somebody else’s.",
        "It pretends to be somebody else’s service.",
    ),
    Template(
        "harm",
        "Malware or phishing",
        "The endpoint or its links lead to malware or phishing.",
        "Its links lead to harmful pages.",
    ),
)
BY_NAME = {template.name: template for template in TEMPLATES}

#: Acts in words, for the public log and the record.
WORDS = {
    "approve": "Looked at, nothing to object to",
    "flag": "Flagged",
    "unflag": "Flag lifted",
    "label": "Label given",
    "unlabel": "Label taken away",
    "propose_hide": "Hiding proposed",
    "hide": "Hidden",
    "unhide": "Shown again",
    "propose_block": "Blocking proposed",
    "block": "Blocked from reporting",
    "unblock": "May report again",
    "decline": "Proposal declined",
    "note": "Note",
    "answer": "Reports answered",
    "undo": "Undone",
}
