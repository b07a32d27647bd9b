"""What can be decided about what, and what a decision has to say: the form of it, before anybody
asks what holds at present (`services`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from accounts.errors import Problem
from moderation import above
from moderation.fold import Action
from moderation.models import PUBLIC_TEXT, REASON, Outcome
from moderation.selectors import label_word
from moderation.subjects import Subject, SubjectKind

MOST_HOURS = 24 * 365
LISTED = frozenset({SubjectKind.SERVICE, SubjectKind.PROVIDER})
#: What can be done about what.
ALLOWED: dict[Action, frozenset[SubjectKind]] = {
    Action.APPROVE: LISTED,
    Action.FLAG: LISTED | {SubjectKind.MODEL},
    Action.UNFLAG: LISTED | {SubjectKind.MODEL},
    Action.LABEL: LISTED | {SubjectKind.MODEL},
    Action.UNLABEL: LISTED | {SubjectKind.MODEL},
    Action.PROPOSE_HIDE: LISTED,
    Action.UNHIDE: LISTED,
    Action.PROPOSE_BLOCK: frozenset({SubjectKind.USER}),
    Action.UNBLOCK: frozenset({SubjectKind.USER}),
    Action.PROPOSE_END: frozenset({SubjectKind.SHARE}),
    Action.REOPEN: frozenset({SubjectKind.SHARE}),
    Action.NOTE: LISTED | {SubjectKind.MODEL, SubjectKind.USER, SubjectKind.SHARE},
    Action.ANSWER: LISTED | {SubjectKind.MODEL, SubjectKind.SHARE},
}
#: The public must be told why.
SAID = frozenset({Action.FLAG, Action.PROPOSE_HIDE, Action.PROPOSE_END})
#: What the public log shows. A proposal is an accusation that one person made; blocking is between
#: a wallet and the site.
PUBLIC = frozenset(
    {
        Action.APPROVE, Action.FLAG, Action.UNFLAG, Action.LABEL, Action.UNLABEL, Action.HIDE,
        Action.UNHIDE, Action.END, Action.END_BY_HOST, Action.REOPEN,
    }
)  # fmt: skip
#: Acts after which an item of the queue is done.
CLOSES = frozenset({Action.APPROVE, Action.FLAG, Action.ANSWER})


@dataclass(frozen=True)
class Decision:
    """What a moderator wants, as read from a form. `hours`: how long it holds; None: until lifted.
    `outcome`: of an answer to reports."""

    action: Action
    reason: str
    public_text: str = ""
    hours: int | None = None
    label: str = ""
    outcome: str = ""

    def checked(self, subject: Subject) -> Decision:
        """Itself, with no secret address in its words, or Problem with what is missing."""
        if subject.kind not in ALLOWED.get(self.action, frozenset()):
            raise Problem("not_for_this", _("This cannot be decided about that."))
        if len(self.reason.strip()) < 3:
            raise Problem(
                "no_reason", _("A reason is missing."), _("Say why, for staff and auditors.")
            )
        if len(self.reason) > REASON or len(self.public_text) > PUBLIC_TEXT:
            raise Problem(
                "too_long",
                _("Reason: %(reason)s, public text: %(public)s characters.")
                % {"reason": REASON, "public": PUBLIC_TEXT},
            )
        if self.action in SAID and len(self.public_text.strip()) < 3:
            raise Problem(
                "no_public_text", _("The public text is missing."), _("It stands on the page.")
            )
        if self.hours is not None and not 1 <= self.hours <= MOST_HOURS:
            raise Problem(
                "wrong_end", _("It can hold for 1 to %(hours)s hours.") % {"hours": MOST_HOURS}
            )
        if self.action in (Action.LABEL, Action.UNLABEL) and not label_word(self.label):
            raise Problem("no_label", _("A label is 2 to 40 letters, digits, spaces or -."))
        if self.hours is not None and subject.kind == SubjectKind.SHARE:
            raise Problem("wrong_end", _("A link is ended until somebody opens it again."))
        if self.action == Action.ANSWER and self.outcome not in Outcome.values:
            raise Problem("no_outcome", _("Say what came of the reports."))
        return replace(
            self,
            reason=above.cleaned(subject, self.reason),
            public_text=above.cleaned(subject, self.public_text),
        )
