"""Where a task stands: what its provider says, as far as the chain bears it out
(provider-protocol.md 6.3, contracts.md 6.5). Reads rows that were fetched, asks nobody."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils.translation import gettext_noop as N_

from finetune.models import Task
from ledger.records import Deliverable
from protocol import tuning

#: What a stage means for the person.
STAGES = {
    tuning.INIT: N_("Accepted; it waits for its turn."),
    tuning.SETTING_UP: N_("The provider fetches dataset and model and counts tokens."),
    tuning.SET_UP: N_("Everything is there; training is next."),
    tuning.TRAINING: N_("The model is being trained."),
    tuning.TRAINED: N_("Training is done; the result is packed."),
    tuning.DELIVERING: N_("The result is encrypted and published."),
    tuning.DELIVERED: N_("The result is there. Acknowledge it in time."),
    tuning.USER_ACKNOWLEDGED: N_("Acknowledged; the provider settles and releases the key."),
    tuning.FINISHED: N_("Settled. The key is on the chain, sealed for your wallet."),
    tuning.FAILED: N_("The task failed."),
}
#: "Finished" is the provider's word, and said of a result that was never acknowledged as well.
LOST = N_(
    "You did not acknowledge the result in time: the penalty was charged, and the key to the model "
    "is not released."
)
ITS_WORD = N_("The provider says that it is settled; the chain does not say so yet.")
ITS_WORD_OF_YOURS = N_(
    "The provider says that you acknowledged it; the chain does not say so. Acknowledge it in time."
)
UNNAMED = N_("The provider says so; the chain names no result of this task now.")
#: Stages that are said of something on the chain.
_ON_CHAIN = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED, tuning.FINISHED)
GIVEN_UP = N_(
    "The provider gave this result up on the chain: nothing was charged, and its key is not "
    "released."
)


@dataclass(frozen=True)
class Step:
    """For the kit's stepper; `at`: when it was reached, where that is known."""

    label: str
    state: str
    at: dt.datetime | None = None


def times(task: Task) -> tuple[tuple[str, dt.datetime | None], ...]:
    """Each stage that was passed, in their order, and when; None where we heard of it only after a
    later one was over by the provider's own time."""
    found: list[tuple[str, dt.datetime | None]] = []
    after: dt.datetime | None = None
    order = (*tuning.STAGES, tuning.FAILED)
    for one in sorted(task.passages.all(), key=lambda one: order.index(one.stage), reverse=True):
        at = one.said or one.at
        late = after is not None and at > after
        found.append((one.stage, None if late else at))
        after = after if late else at
    return tuple(reversed(found))


def lost(named: Deliverable | None, ended_as: str = "") -> bool:
    """Whether nobody will ever have the model: settled without an acknowledgement, or given up."""
    unpaid = named is not None and named.settled and not named.acknowledged
    return unpaid or ended_as in ("abandoned", "penalty")


def meaning(task: Task, named: Deliverable | None, ended_as: str = "") -> str:
    """What the stage means for the person, where it stands by the chain; `named`: its result there.
    A chain keeps the newest results alone."""
    if ended_as == "abandoned":
        return GIVEN_UP
    if lost(named, ended_as):
        return LOST
    if ended_as == "acknowledged":
        return STAGES[tuning.FINISHED]
    if named is None and task.progress in _ON_CHAIN:
        return UNNAMED
    if task.progress == tuning.FINISHED and named is not None and not named.settled:
        return ITS_WORD
    if task.progress == tuning.USER_ACKNOWLEDGED and named is not None and not named.acknowledged:
        return ITS_WORD_OF_YOURS
    if task.progress == tuning.DELIVERED and named is not None and named.acknowledged:
        return STAGES[tuning.USER_ACKNOWLEDGED]
    return STAGES.get(task.progress, "")


def steps(task: Task, named: Deliverable | None, ended_as: str = "") -> tuple[Step, ...]:
    """The whole way, with where it stands; a failed task shows how far it came, and one whose
    model nobody will have what did not happen, whatever its provider says."""
    passed = dict(times(task))
    last = max((tuning.STAGES.index(s) for s in passed if s in tuning.STAGES), default=0)
    finished = task.progress == tuning.FINISHED or ended_as == "acknowledged"
    never = tuning.USER_ACKNOWLEDGED if lost(named) or ended_as == "penalty" else ""
    never = tuning.FINISHED if ended_as == "abandoned" else never
    found = []
    for at, stage in enumerate(tuning.STAGES):
        state = "done" if at < last or finished else "next"
        if at == last and not finished:
            state = "failed" if task.progress == tuning.FAILED else "current"
        if stage == never:
            state = "failed"
        found.append(Step(stage, state, passed.get(stage)))
    return tuple(found)
