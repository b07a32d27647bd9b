"""What a subject's acts amount to: a fold, oldest act first. Pure; ends are judged by the reader.

An act lifts what an earlier one did by naming its kind (`unhide`), or by number (`undo`); a later
act of the same kind replaces the earlier one. Two persons: `hide` and `block` only count where they
answer a proposal that another person made and that was still waiting; so does `end`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    APPROVE = "approve"
    FLAG = "flag"
    UNFLAG = "unflag"
    LABEL = "label"
    UNLABEL = "unlabel"
    PROPOSE_HIDE = "propose_hide"
    HIDE = "hide"
    UNHIDE = "unhide"
    PROPOSE_BLOCK = "propose_block"
    BLOCK = "block"
    UNBLOCK = "unblock"
    PROPOSE_END = "propose_end"
    END = "end"
    END_BY_HOST = "end_by_host"
    REOPEN = "reopen"
    DECLINE = "decline"
    NOTE = "note"
    ANSWER = "answer"
    UNDO = "undo"


#: What an act puts into force, by the names of `models.EffectKind`.
PUTS = {
    Action.APPROVE: "approved",
    Action.FLAG: "flagged",
    Action.LABEL: "label",
    Action.PROPOSE_HIDE: "proposed",
    Action.PROPOSE_BLOCK: "proposed",
    Action.PROPOSE_END: "proposed",
    Action.HIDE: "hidden",
    Action.BLOCK: "blocked",
    Action.END: "ended",
    Action.END_BY_HOST: "ended",
}
#: What an act lifts.
LIFTS = {
    Action.UNFLAG: "flagged",
    Action.UNLABEL: "label",
    Action.UNHIDE: "hidden",
    Action.UNBLOCK: "blocked",
    Action.REOPEN: "ended",
    Action.DECLINE: "proposed",
}
#: Acts of two persons, and the proposal each of them answers.
CONFIRMS = {
    Action.HIDE: Action.PROPOSE_HIDE,
    Action.BLOCK: Action.PROPOSE_BLOCK,
    Action.END: Action.PROPOSE_END,
}


@dataclass(frozen=True)
class Done:
    """An act as the fold reads it. `label`: the word of a label; of a proposal what it proposes.
    `answers`: the number of the proposal or of the act that it undoes."""

    number: int
    at: dt.datetime
    action: str
    actor: str
    label: str = ""
    answers: int = 0
    until: dt.datetime | None = None
    public_text: str = ""


@dataclass(frozen=True)
class Held:
    """One thing in force, by the act that put it there."""

    kind: str
    label: str
    act: Done

    @property
    def by_host(self) -> bool:
        """Whether only the host lifts it: it is above moderators, one or two of them."""
        return self.act.action == Action.END_BY_HOST


def fold(acts: Iterable[Done]) -> dict[tuple[str, str], Held]:
    """What is in force after these acts of one subject, by kind and label, whatever the clock
    says. What an undone act had replaced or lifted is in force again."""
    known = list(acts)
    undone = {act.answers for act in known if act.action == Action.UNDO}
    force: dict[tuple[str, str], Held] = {}
    for act in known:
        if act.number not in undone:
            _apply(force, act)
    return force


def _apply(force: dict[tuple[str, str], Held], act: Done) -> None:
    try:
        action = Action(act.action)
    except ValueError:
        return
    if action in CONFIRMS:
        place = ("proposed", CONFIRMS[action].removeprefix("propose_"))
        waiting = force.get(place)
        if waiting is None or not _confirms(waiting.act, act):
            return
        del force[place]
    if action == Action.END_BY_HOST:
        force.pop(("proposed", "end"), None)
    if action in PUTS:
        kind = PUTS[action]
        label = act.label if kind == "label" else ""
        if kind == "proposed":
            label = action.removeprefix("propose_")
        force[kind, label] = Held(kind, label, act)
    elif action in LIFTS:
        kind = LIFTS[action]
        force.pop((kind, act.label if kind in ("label", "proposed") else ""), None)


def _confirms(proposal: Done, act: Done) -> bool:
    """Whether a second person answered this proposal in its time."""
    in_time = proposal.until is None or act.at < proposal.until
    return proposal.number == act.answers and proposal.actor != act.actor and in_time
