"""One frozen dataclass per page: the template's whole context."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import links, unheard
from accounts.pages_parts import Option
from accounts.pages_transaction import POLL_UNSURE, EffectRow, Link, Review, Transaction
from attestation.selectors import StandingView
from finetune import checking, deploying, problems, reading, stages
from finetune.models import Dataset, Draft, Place, PlaceState, Task
from finetune.offers import Told
from finetune.pricing import Price
from ledger.records import Deliverable, Listing, Position
from moderation.selectors import NOTHING, Decided
from probes.charts import Chart
from protocol import tuning

STEPS = (
    ("model", N_("Model")),
    ("dataset", N_("Dataset")),
    ("config", N_("Configuration")),
    ("price", N_("Price")),
    ("sign", N_("Sign")),
)


@dataclass(frozen=True)
class Blocked:
    """The result that stops another one's delivery; `task`: whose page can acknowledge it, None
    where it was made elsewhere and has no page here yet."""

    result: Deliverable
    task: Task | None


@dataclass(frozen=True)
class OfferRow:
    """`blocked`: what keeps this provider from delivering to whoever reads."""

    listing: Listing
    standing: StandingView
    told: Told | None = None
    decided: Decided = NOTHING
    blocked: Blocked | None = None

    @property
    def path(self) -> str:
        """The page of the very listing: of two contracts an address alone means one."""
        return links.service(self.listing)

    @property
    def models(self) -> tuple[str, ...]:
        """All that can be chosen: those of its listing, then those that it names itself."""
        own = (model.name for model in self.told.own) if self.told else ()
        return tuple(dict.fromkeys((*self.listing.models, *own)))

    @property
    def per_million(self) -> int:
        return self.listing.price_per_token * 10**6


@dataclass(frozen=True)
class TaskRow:
    task: Task
    means: str
    deadline: Deadline | None = None


@dataclass(frozen=True)
class IndexPage:
    """`elsewhere`: providers with an account of whoever reads, which `offers` leaves out. `away`:
    these tasks were put away (`some_away`: there are such); `newer`, `older`: pages of tasks;
    `undo`: a draft deleted just now."""

    offers: tuple[OfferRow, ...]
    tasks: tuple[TaskRow, ...]
    datasets: tuple[Dataset, ...]
    drafts: tuple[Draft, ...]
    storage: bool = False
    adopted: str = ""
    elsewhere: tuple[str, ...] = ()
    away: bool = False
    some_away: bool = False
    newer: str = ""
    older: str = ""
    undo: UUID | None = None


@dataclass(frozen=True)
class PublishPage:
    """A dataset on its way into 0G storage. `known`: storage has heard of it, so that nothing is to
    be paid; `problem`: why it cannot be announced now. `fee` in neuron goes to `flow`."""

    dataset: Dataset
    place: Place | None
    known: bool = False
    problem: str = ""
    flow: str = ""
    fee: int = 0
    rows: tuple[EffectRow, ...] = ()

    @property
    def state(self) -> str:
        """Nothing was begun: empty."""
        return self.place.state if self.place else ""

    @property
    def moving(self) -> bool:
        return self.state in (PlaceState.WAITING, PlaceState.SENDING)

    @property
    def poll(self) -> int:
        """Seconds between two looks at what the wallet has, or may have sent without a word, as
        long as such transactions are looked for; 0 for none."""
        place = self.place
        if place is None or self.known or not (place.unsure or place.state == PlaceState.ASKING):
            return 0
        young = timezone.now() - place.updated_at < unheard.SEARCHED_FOR
        return POLL_UNSURE if young else 0

    @property
    def share(self) -> float:
        return self.place.sent / self.dataset.size if self.place and self.dataset.size else 0.0


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: `share` in thousandths of the longest."""

    label: str
    rows: int
    share: int


def bars(dataset: Dataset) -> tuple[Bar, ...]:
    counts = dataset.lengths.get("bars", [])
    most = max(counts, default=0)
    labels = [_("up to %(edge)s") % {"edge": f"{edge:,}"} for edge in checking.EDGES]
    labels.append(_("over %(edge)s") % {"edge": f"{checking.EDGES[-1]:,}"})
    return tuple(
        Bar(label, count, count * 1000 // most if most else 0)
        for label, count in zip(labels, counts, strict=False)
    )


@dataclass(frozen=True)
class DatasetView:
    dataset: Dataset
    bars: tuple[Bar, ...]
    preview: tuple[tuple[str, str], ...]
    few: bool

    @property
    def problems(self) -> tuple[tuple[int, str], ...]:
        """Lines with what is wrong there."""
        return tuple((line, problems.of_row(text)) for line, text in self.dataset.problems)


@dataclass(frozen=True)
class Field:
    """One of the five settings as a field of the form."""

    name: str
    label: str
    value: str
    hint: str
    error: str = ""


#: What most people set first.
SETTINGS = {
    "num_train_epochs": (
        N_("Epochs"),
        N_("1 to 10, whole. How often the dataset is read; the price grows with it."),
    ),
    "learning_rate": (
        N_("Learning rate"),
        N_("0.00001 to 0.001: how much each step changes. Decimals only: 0.0002, not 2e-4."),
    ),
    "per_device_train_batch_size": (
        N_("Batch size"),
        N_("1 to 4, whole. Rows per step on each GPU."),
    ),
    "max_steps": (N_("Steps at most"), N_("-1 for no limit, or a whole number from 1.")),
    "neftune_noise_alpha": (
        N_("NEFTune noise"),
        N_("0 to 10. Noise on the input, so that less is learnt by heart; 0 switches it off."),
    ),
}


def fields(values: dict[str, str], errors: dict[str, str]) -> tuple[Field, ...]:
    return tuple(
        Field(
            name,
            _(label),
            values.get(name, ""),
            f"{_(hint)} {_('Usual: %(value)s.') % {'value': tuning.PARAMETERS[name].default}}",
            problems.of_setting(errors.get(name, "")),
        )
        for name, (label, hint) in SETTINGS.items()
    )


@dataclass(frozen=True)
class WizardPage:
    """A step of the wizard; what a step does not show is empty."""

    draft: Draft
    step: str
    links: tuple[Link, ...]
    listing: Listing | None = None
    standing: StandingView | None = None
    offers: tuple[OfferRow, ...] = ()
    datasets: tuple[DatasetView, ...] = ()
    chosen: UUID | None = None
    fields: tuple[Field, ...] = ()
    text: str = ""
    as_json: bool = False
    pending: int | None = None
    price: Price | None = None
    position: Position | None = None
    place: Place | None = None
    sending: Place | None = None
    top_up: str = ""
    #: What a first transfer has to be, neuron; 0 where it is not known, or not the first.
    least: int = 0
    acknowledged: bool = True
    storage: bool = False
    #: What stands in the way of the draft's result already.
    blocked_by: Blocked | None = None
    error: str = ""
    #: What moderators declared about the chosen service.
    decided: Decided = NOTHING

    @property
    def evidence(self) -> str:
        """The verification of the very listing."""
        return links.service(self.listing, "verification") if self.listing else ""

    @property
    def listed(self) -> int:
        """What the listing asks for 1M tokens, neuron."""
        return self.price.listed * 10**6 if self.price else 0

    @property
    def documented(self) -> int:
        """What the estimate goes by, for 1M tokens; neuron."""
        return self.price.each * 10**6 if self.price else 0

    @property
    def next_path(self) -> str:
        names = [name for name, _label in STEPS]
        at = names.index(self.step)
        following = names[min(at + 1, len(names) - 1)]
        return f"/fine-tuning/new/{self.draft.pk}/{following}"


@dataclass(frozen=True)
class Deadline:
    """Until when a result is to be acknowledged, and what missing it costs in neuron. `lead`:
    seconds by which the chain's clock is ahead of this machine's."""

    due: tuning.Due
    cost: int
    percent: int
    lead: int = 0

    @property
    def unix(self) -> int:
        return self.due.at

    @property
    def ticks_to(self) -> int:
        """When it is over by this machine's clock: providers look at the chain's."""
        return self.unix - self.lead

    @property
    def longer(self) -> int:
        """Seconds that a provider may give beyond what brokers come with; 0 once those are over, or
        where there can be none."""
        return self.due.latest - self.due.at


@dataclass(frozen=True)
class TaskPage:
    task: Task
    means: str
    steps: tuple[stages.Step, ...]
    passages: tuple[tuple[str, dt.datetime | None], ...]
    listing: Listing | None
    deliverable: Deliverable | None
    deadline: Deadline | None
    lines: tuple[reading.Line, ...]
    level: str
    levels: tuple[Option, ...]
    chart: Chart | None
    left: str
    price: Price | None
    cancellable: bool
    fetchable: bool
    from_storage: bool
    settlement: str
    blocked_by: Blocked | None
    #: Neuron that its settlement took; None where there was none.
    charged: int | None = None
    #: How it was settled, by the chain (`ledger.Settlement.status`); empty: not, or not known here.
    ended_as: str = ""
    #: Where its service can be reported, once it failed.
    report: str = ""
    review: Review | None = None
    current: Transaction | None = None
    contracts: tuple[str, ...] = ()
    earlier_lines: int = 0
    last_line: str = ""
    queue: int | None = None
    places: tuple[deploying.Place, ...] = ()
    cli: str = ""
    readable: bool = True
    #: What the service's evidence at the start says that runs there.
    images: tuple[str, ...] = ()
    #: The chain names another file than the one that was checked.
    replaced: bool = False
    #: What was verified of the key of now, where it sealed the result and is not the noted one.
    now: StandingView | None = None
    #: Neuron that is missing for it to be settled, and the form that brings them.
    lacks: int = 0
    top_up: str = ""

    @property
    def service(self) -> str:
        """The page of its listing, in the contract where the task is."""
        known = self.listing
        return links.service(known) if known else f"/services/fine-tuning/{self.task.provider}"

    @property
    def fetch_first(self) -> bool:
        """Whether the result waits to be fetched: only what was checked should be acknowledged."""
        return self.fetchable and not self.checked and self.task.result_state != "fetching"

    @property
    def checked(self) -> bool:
        """Whether what is here was compared with what the chain names now."""
        return self.task.result_state == "here" and not self.replaced

    @property
    def other_key(self) -> bool:
        """Whether what was checked is sealed by another key than the one that was noted."""
        return self.checked and self.task.result_signer not in ("", self.task.tee_signer)

    @property
    def unsettleable(self) -> bool:
        """Whether the contract settles nothing of this provider now (contracts.md 6.5): neither the
        fee nor the penalty."""
        waits = self.deliverable is not None and not self.deliverable.settled
        return waits and self.listing is not None and not self.listing.tee_signer_acknowledged

    @property
    def lost(self) -> bool:
        return stages.lost(self.deliverable, self.ended_as)

    @property
    def shut(self) -> bool:
        """Whether this very result keeps the contract from taking another one of its provider
        (contracts.md 6.5)."""
        own = self.deliverable
        return own is not None and own.settled and not own.acknowledged

    @property
    def released(self) -> bool:
        """Whether the key is on the chain, which takes no key without a settlement in full."""
        return self.ended_as == "acknowledged"

    @property
    def overcharged(self) -> bool:
        return self.charged is not None and self.charged > (self.task.fee or 0)

    @property
    def per_million(self) -> int:
        return self.task.price_per_token * 10**6

    @property
    def settings_hash(self) -> str:
        """SHA-256 of the settings, byte for byte as the provider has them."""
        return hashlib.sha256(self.task.parameters.encode()).hexdigest()


@dataclass(frozen=True)
class DecryptPage:
    """`by_key`: the command names the sealed key, which the contract has no more."""

    name: str
    sha256: str
    path: str
    command: str
    peft: str
    serve: str
    task: Task | None = None
    by_key: bool = False


def time_left(left: reading.Left | None, found: reading.Curve) -> str:
    """`step 120 of 900 - about 34-50 min left (based on the last 60 steps)`."""
    if not found.of:
        return ""
    text = _("step %(step)s of %(of)s") % {"step": f"{found.step:,}", "of": f"{found.of:,}"}
    if left is None:
        return text
    return _(
        "%(text)s – about %(least)s to %(most)s left (by the pace of the last %(steps)s steps)"
    ) % {"text": text, "least": _span(left.least), "most": _span(left.most), "steps": left.steps}


def _span(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{Decimal(seconds) / 3600:.1f} h"
