"""Reasons that are often given, for staff and in words for the public: data that a form offers."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts.roles import Role
from moderation.subjects import SubjectKind

_SHARES = frozenset({SubjectKind.SHARE})
_LISTED = frozenset({SubjectKind.SERVICE, SubjectKind.PROVIDER, SubjectKind.MODEL})


@dataclass(frozen=True)
class Template:
    """`name` is its value in the form. Reasons are kept in English, as the record is; of the
    others the title is translated for staff, the public text for whoever reads it. `kinds`: of
    subjects that it is about.
    """

    name: str
    title: str
    reason: str
    public_text: str
    kinds: frozenset[str] = _LISTED


TEMPLATES = (
    Template(
        "fine",
        N_("Nothing to object to"),
        "Looked at listing, endpoint and evidence: nothing to object to.",
        "",
    ),
    Template(
        "moved",
        N_("Endpoint moved, not acknowledged anew"),
        "The endpoint is another than the one that was acknowledged.",
        N_(
            "The endpoint changed after its signing key was acknowledged. Nobody has confirmed "
            "that the same machine answers."
        ),
    ),
    Template(
        "others",
        N_("Returns other people’s text"),
        "Reproduced: answers contain text of other people’s conversations.",
        N_("The endpoint returned other people’s text."),
    ),
    Template(
        "model",
        N_("Not the model it claims"),
        "Answers do not fit the model that the listing names.",
        N_("Answers do not fit the model that the listing names."),
    ),
    Template(
        "shared",
        N_("Evidence of another provider’s machine"),
        "The evidence is of a machine that another provider shows too.",
        N_("It shows evidence of a machine that another provider shows too."),
    ),
    Template(
        "price",
        N_("Charges more than it lists"),
        "Settlements ask for more than prices and counted tokens give.",
        N_("It asked for more than its listed prices."),
    ),
    Template(
        "name",
        N_("Pretends to be somebody else"),
        "Name, model or links pretend to be somebody else’s.",
        N_("It pretends to be somebody else’s service."),
    ),
    Template(
        "harm",
        N_("Malware or phishing"),
        "The endpoint or its links lead to malware or phishing.",
        N_("Its links lead to harmful pages."),
    ),
    Template(
        "secrets",
        N_("Somebody’s secrets or private data"),
        "It shows secrets or private data of a person.",
        N_("It showed secrets or private data of a person."),
        _SHARES,
    ),
    Template(
        "abuse",
        N_("Threats, hatred or harassment"),
        "It threatens, incites hatred or harasses.",
        N_("It threatened or harassed somebody, or incited hatred."),
        _SHARES,
    ),
    Template(
        "illegal",
        N_("Against the law"),
        "What it shows is against the law here.",
        N_("What it showed is against the law."),
        _SHARES,
    ),
    Template(
        "lure",
        N_("Malware or phishing"),
        "It leads to malware or phishing.",
        N_("It led to harmful pages."),
        _SHARES,
    ),
)
BY_NAME = {template.name: template for template in TEMPLATES}

#: Acts in words, for the public log and the record.
WORDS = {
    "approve": N_("Looked at, nothing to object to"),
    "flag": N_("Flagged"),
    "unflag": N_("Flag lifted"),
    "label": N_("Label given"),
    "unlabel": N_("Label taken away"),
    "propose_hide": N_("Hiding proposed"),
    "hide": N_("Hidden"),
    "unhide": N_("Shown again"),
    "propose_block": N_("Blocking proposed"),
    "block": N_("Blocked from reporting"),
    "unblock": N_("May report again"),
    "propose_end": N_("Ending a link proposed"),
    "end": N_("Link ended"),
    "end_by_host": N_("Link ended by the host"),
    "reopen": N_("Link opened again"),
    "decline": N_("Proposal declined"),
    "note": N_("Note"),
    "answer": N_("Reports answered"),
    "undo": N_("Undone"),
    # Of other areas: `ops.admin_users`, `ops.views`, `ops.views_staff` and their commands.
    "roles_changed": N_("Roles changed"),
    "access_changed": N_("Access changed"),
    "account_made": N_("Password account made"),
    "password_changed": N_("Password changed"),
    "authenticator_forgotten": N_("Authenticator forgotten"),
    "authenticator_enrolled": N_("Authenticator enrolled"),
    "signed_in": N_("Signed in by password"),
    "code_refused": N_("Code refused at sign-in"),
    "command_started": N_("Command started"),
    "command_refused": N_("Command refused"),
    "access_ended": N_("Everybody’s tokens, shared links and feed addresses ended"),
    "failure_retry": N_("Failed task queued again"),
    "failure_dismiss": N_("Failed task dismissed"),
    "failures_retry": N_("Failed tasks queued again"),
    "failures_dismiss": N_("Failed tasks dismissed"),
    "announced": N_("Incident or maintenance announced"),
    "announcement_updated": N_("Announcement continued"),
    "announcement_ended": N_("Announcement ended"),
}
AREAS = {"moderation": N_("Moderation"), "admin": N_("Accounts of staff"), "ops": N_("Operation")}
SUBJECTS = {
    "service": N_("Service"),
    "provider": N_("Provider"),
    "model": N_("Model"),
    "user": N_("Wallet"),
    "share": N_("Shared conversation"),
    "account": N_("Password account"),
    "command": N_("Command"),
    "task": N_("Task"),
    "announcement": N_("Announcement"),
}
#: What an act found and left, by the names that `before` and `after` have for it.
VALUES = {
    "roles": N_("roles"),
    "role": N_("role"),
    "may_sign_in": N_("may sign in"),
    "kind": N_("kind"),
    "title": N_("title"),
    "why": N_("why"),
    "how": N_("how"),
    "refused_before": N_("refused before"),
    "job": N_("job"),
    "failure": N_("failure"),
    "times": N_("times"),
    "number": N_("number"),
    "tokens": N_("tokens"),
    "links": N_("links"),
    "feeds": N_("feeds"),
}


def words(action: str) -> str:
    """An act in words."""
    return _(WORDS[action]) if action in WORDS else action.replace("_", " ")


def area(name: str) -> str:
    """A part of the site in words."""
    return _(AREAS[name]) if name in AREAS else name


def value_name(name: str) -> str:
    """What a value of an act is called."""
    return _(VALUES[name]) if name in VALUES else name.replace("_", " ")


def sort(kind: str) -> str:
    """What sort of thing an act is about."""
    return _(SUBJECTS[kind]) if kind in SUBJECTS else kind


def held(role: str) -> str:
    """The roles of whoever acted (`Act.role`: names with commas between) in words."""
    labels = {one.value: one.label for one in Role}
    return ", ".join(_(str(labels.get(name, name))) for name in role.split(",") if name)


def clause(action: str) -> str:
    """The same inside of a sentence, as far as it is English: other languages' nouns stay tall."""
    said = words(action)
    return said.lower() if said == WORDS.get(action) else said


#: What is said where the host ended a link without saying why.
ENDED = N_("The host of this site ended it.")
_OFTEN_SAID = frozenset(one.public_text for one in TEMPLATES if one.public_text) | {ENDED}


def public(text: str) -> str:
    """A public text in the reader's language where it is one that is often given; else as it was
    typed."""
    return _(text) if text in _OFTEN_SAID else text
