"""What the contracts say, as rows; rebuildable from raw facts. Only `ledger.project` writes.

Two layers share each state table (architecture.md 1): rows with `pending=False` fold final blocks
only and are never touched by anything that can still be reorganised; an entity that non-final
blocks changed has a second row with `pending=True`, and its final row is marked `shadowed`.
Readers use `Model.current`, "the newest row of each entity". Append-only tables (`Movement`,
`Settlement`, `ServiceChange`) just carry `pending`; (block, sequence) orders their rows.
"""

from __future__ import annotations

from typing import ClassVar, Self, TypeVar

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Case, F, OrderBy, Q, TextField, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Concat, Greatest, Left, Lower, NullIf, Upper

from chain.fields import AddressField, HashField, NeuronField, SumField
from protocol.fees import EMBEDDING, IMAGES, SPEECH


def _marks(name: str, *, layered: bool = True) -> list[models.Index]:
    """Small indexes over the few rows that every new block replaces."""
    pending = models.Index(fields=["block"], name=f"{name}_pending", condition=Q(pending=True))
    shadowed = models.Index(fields=["block"], name=f"{name}_shadowed", condition=Q(shadowed=True))
    return [pending, shadowed] if layered else [pending]


_Row = TypeVar("_Row", bound=models.Model)


class CurrentManager(models.Manager[_Row]):
    """The newest row of each entity: the pending one where there is one, else the final one."""

    def get_queryset(self) -> models.QuerySet[_Row]:
        return super().get_queryset().filter(shadowed=False)


class Layered(models.Model):
    """A state row: once as final and, while non-final blocks change it, once as pending."""

    pending = models.BooleanField(default=False, help_text="includes blocks that are not final yet")
    shadowed = models.BooleanField(
        default=False, help_text="a pending row of the same entity exists"
    )
    block = models.BigIntegerField(help_text="the block that last changed this row")

    objects: ClassVar[models.Manager[Self]] = models.Manager()
    current: ClassVar[CurrentManager[Self]] = CurrentManager()

    class Meta:
        abstract = True


class Kind(models.TextChoices):
    INFERENCE = "inference"
    FINE_TUNING = "fine-tuning"


class ServingContract(Layered):
    """A serving contract the LedgerManager registered."""

    address = AddressField()
    kind = models.CharField(
        max_length=100, help_text="service type: `inference`, `fine-tuning`, or one we do not know"
    )
    version = models.TextField()
    service_name = models.TextField(
        help_text="fullName, exact and case-sensitive, e.g. `inference-v1.0`"
    )
    recommended = models.BooleanField(default=False)
    registered_block = models.BigIntegerField()
    start_block = models.BigIntegerField(help_text="first block we read its logs from")
    owner = AddressField(default="")
    lock_time_seconds = models.BigIntegerField(default=0)
    penalty_percentage = models.IntegerField(null=True, help_text="fine-tuning only")
    audited = models.BooleanField(
        default=False, help_text="runs code of the audit release or later (contracts.md 9)"
    )

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["address", "pending"], name="serving_once")
        ]

    def __str__(self) -> str:
        return self.service_name


class Ledger(Layered):
    """A user's main account in the LedgerManager; `exists=False` after deletion."""

    user = AddressField()
    exists = models.BooleanField(default=True)
    available = NeuronField(default=0)
    total = NeuronField(default=0)
    additional_info = models.TextField(default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "pending"], name="ledger_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            *_marks("ledger"),
            # By the first digits, in any case of letters, as `istartswith` asks.
            models.Index(OpClass(Upper("user"), name="text_pattern_ops"), name="ledger_by_user"),
        ]

    def __str__(self) -> str:
        return self.user


class SubAccount(Layered):
    """What a user holds at a provider in a serving contract; `live=False`: deleted, nonce kept."""

    serving = AddressField()
    user = AddressField()
    provider = AddressField()
    live = models.BooleanField(default=True)
    balance = NeuronField(default=0, help_text="neuron, includes pending refunds")
    pending_refund = NeuronField(default=0)
    refunds = models.JSONField(
        default=list, help_text='active entries, oldest first: [{"amount": "1", "created_at": 1}]'
    )
    nonce = NeuronField(default=0)
    acknowledged = models.BooleanField(default=False)
    additional_info = models.TextField(default="")
    generation = NeuronField(default=0)
    revoked_bitmap = NeuronField(default=0)
    deliverables = models.JSONField(
        default=list,
        help_text='oldest first: [{"id", "model_root_hash", "acknowledged", "settled", …}]',
    )

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["serving", "user", "provider", "pending"], name="sub_account_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            *_marks("sub_account"),
            models.Index(fields=["user"]),
            models.Index(fields=["provider"]),
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.provider}"


#: Characters of a model's name that lists are ordered by.
SORTED_LENGTH = 100
#: Characters of each of a stranger's texts that a search looks at.
SEARCHED_LENGTH = 300

#: What a price is the price of: a token, a picture, a second, a token of training. Prices of
#: different units are never in one order.
LISTED_UNIT = Case(
    When(kind=Kind.FINE_TUNING.value, then=Value(3)),
    When(service_type__in=IMAGES, then=Value(1)),
    When(service_type=SPEECH, then=Value(2)),
    default=Value(0),
    output_field=models.IntegerField(),
)
#: Neuron of that unit, as the Output column shows it; of speech the dearer one counts, and
#: embeddings answer with no token.
LISTED_OUTPUT = Case(
    When(kind=Kind.FINE_TUNING.value, then=F("price_per_token")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    When(service_type=EMBEDDING, then=Value(0, output_field=NeuronField())),
    default=F("output_price"),
    output_field=NeuronField(),
)
#: The price one compares by: of what is billed by tokens both directions, of embeddings the one
#: that there is.
LISTED_PRICE = Case(
    When(kind=Kind.FINE_TUNING.value, then=F("price_per_token")),
    When(service_type__in=IMAGES, then=F("output_price")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    When(service_type=EMBEDDING, then=F("input_price")),
    default=F("input_price") + F("output_price"),
    output_field=NeuronField(),
)

#: The name one sorts by, cut: the model, or the first one of fine-tuning; without a name last.
LISTED_MODEL = Left(
    NullIf(
        Case(
            When(kind=Kind.FINE_TUNING.value, then=KT("model_list__0")),
            default=F("model"),
            output_field=TextField(),
        ),
        Value(""),
    ),
    SORTED_LENGTH,
)


def _searched(name: str) -> Left:
    return Left(Cast(name, TextField()), SEARCHED_LENGTH)


class Service(Layered):
    """A provider's listing in one serving contract. `removed=True` after removeService."""

    serving = AddressField()
    provider = AddressField()
    kind = models.CharField(max_length=100)
    removed = models.BooleanField(default=False)
    position = models.IntegerField(
        default=0, help_text="index in the contract's array (swap-and-pop)"
    )
    url = models.TextField(default="")
    service_type = models.TextField(default="")
    model = models.TextField(default="")
    verifiability = models.TextField(default="")
    input_price = NeuronField(default=0)
    output_price = NeuronField(default=0)
    additional_info = models.TextField(default="")
    updated_at_unix = models.BigIntegerField(default=0)
    quota = models.JSONField(
        null=True,
        help_text="fine-tuning: cpu_count, node_memory, gpu_count, node_storage, gpu_type",
    )
    price_per_token = NeuronField(default=0)
    occupied = models.BooleanField(default=False)
    model_list = models.JSONField(
        default=list, help_text="fine-tuning: names of the models it can tune"
    )
    tee_signer = AddressField(default="")
    tee_signer_acknowledged = models.BooleanField(default=False)
    stake = NeuronField(default=0)
    created_block = models.BigIntegerField()
    #: What `q=` looks in, in lower case, one text per line. A trigram index finds words in it
    #: where the server has pg_trgm (migration 0005); without it the table is read.
    search = models.GeneratedField(
        expression=Lower(
            Concat(
                _searched("model"),
                Value("\n"),
                "provider",
                Value("\n"),
                _searched("url"),
                Value("\n"),
                _searched("service_type"),
                Value("\n"),
                _searched("model_list"),
                output_field=TextField(),
            )
        ),
        output_field=TextField(),
        db_persist=True,
    )

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["serving", "provider", "pending"], name="service_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            *_marks("service"),
            models.Index(fields=["provider"]),
            models.Index(fields=["kind", "removed"]),
            # The catalogue in its usual order, and counts, without reading the table. Never whole
            # texts of strangers: a key of more than 2,700 bytes would be refused on writing.
            models.Index(
                LISTED_MODEL,
                "kind",
                "provider",
                "serving",
                name="service_in_order",
                condition=Q(shadowed=False, removed=False),
            ),
            models.Index(
                fields=["provider", "kind"],
                name="service_listed",
                condition=Q(shadowed=False, removed=False),
            ),
            # The orders that people ask for, either way round, with what breaks ties: stakes and
            # prices are often all the same.
            *(
                models.Index(
                    *columns,
                    "kind",
                    "provider",
                    "serving",
                    name=f"service_order_{name}",
                    condition=Q(shadowed=False, removed=False),
                )
                for name, *columns in (
                    ("of_price", LISTED_UNIT, LISTED_PRICE),
                    ("of_input", LISTED_UNIT, F("input_price")),
                    ("of_output", LISTED_UNIT, LISTED_OUTPUT),
                    ("stake", F("stake")),
                    ("change", F("updated_at_unix")),
                    ("creation", F("created_block")),
                    ("type", Left("service_type", SORTED_LENGTH)),
                )
            ),
            # Downwards a price turns within its unit, and the units stay where they are.
            *(
                models.Index(
                    LISTED_UNIT,
                    *(
                        OrderBy(F(one) if isinstance(one, str) else one, descending=True)
                        for one in (column, "kind", "provider", "serving")
                    ),
                    name=f"service_down_{name}",
                    condition=Q(shadowed=False, removed=False),
                )
                for name, column in (
                    ("price", LISTED_PRICE),
                    ("input", F("input_price")),
                    ("output", LISTED_OUTPUT),
                )
            ),
            models.Index(fields=["block"], name="service_block"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider}"


class Appended(models.Model):
    """A row that only gets added; `pending` ones are replaced when their block becomes final."""

    pending = models.BooleanField(default=False)
    block = models.BigIntegerField()
    at = models.DateTimeField()
    tx_hash = HashField(null=True)
    log_index = models.IntegerField(null=True)
    sequence = models.IntegerField(default=0, help_text="order of the rows of one block")

    class Meta:
        abstract = True


class ServiceChange(Appended):
    """One on-chain change of a listing; `change`: interfaces.md `timeline.change`."""

    serving = AddressField()
    provider = AddressField()
    change = models.CharField(max_length=20)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            *_marks("change", layered=False),
            models.Index(fields=["provider", "-block"]),
            models.Index(fields=["-block"]),
            models.Index(fields=["serving", "-block"]),
            # A list asks for the newest of them, past any number of prices.
            models.Index(
                fields=["provider", "serving", "change", "-block"],
                name="change_of_trust",
                condition=Q(change__in=("url", "acknowledged", "signer")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.change} of {self.provider}"


class Movement(Appended):
    """A signed change of `available` or a sub-account; kinds: interfaces.md `movements.kind`."""

    user = AddressField()
    kind = models.CharField(max_length=20)
    balance = models.CharField(max_length=11, help_text="`available` or `sub_account`")
    serving = AddressField(null=True)
    provider = AddressField(null=True)
    amount = NeuronField(help_text="signed change, neuron")
    balance_after = NeuronField()
    pending_change = NeuronField(
        default=0, help_text="signed change of the sub-account's pending refunds, neuron"
    )
    source = models.CharField(max_length=11, help_text="`event`, `transaction` or `view`")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            *_marks("movement", layered=False),
            models.Index(fields=["user", "-block"]),
            models.Index(fields=["provider", "-block"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


#: Statuses of items that the contract accepted (their nonce was consumed); the others paid nothing.
ACCEPTED = ("success", "partial", "acknowledged", "penalty")
#: Of those, the ones that paid less than was asked.
IN_PART = ("partial", "penalty")


class Settlement(Appended):
    """One settlement item with what was paid and what was not (contracts.md 6.4, 6.5)."""

    serving = AddressField()
    provider = AddressField()
    user = AddressField()
    status = models.CharField(max_length=20)
    settled = NeuronField()
    unsettled = NeuronField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            *_marks("settlement", layered=False),
            models.Index(fields=["provider", "-block"]),
            models.Index(fields=["user", "-block"]),
            models.Index(
                fields=["at"],
                include=["settled"],
                name="settlement_paid_at",
                condition=Q(status__in=ACCEPTED),
            ),
            # Few: the network's refused items, without reading the others.
            models.Index(
                fields=["-at"], name="settlement_refused", condition=~Q(status__in=ACCEPTED)
            ),
            # Those of one listing, by status, without reading rows at all.
            models.Index(
                fields=["provider", "serving", "status"],
                include=["id"],
                name="settlement_refused_of",
                condition=~Q(status__in=ACCEPTED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.settled}"


class ServiceTotal(models.Model):
    """Sums over the append-only rows of one listing, pending ones included.

    The database keeps them itself, in the statement that adds or deletes the rows (triggers of
    migration 0005, as 0019 has them): they cannot differ from the rows, whoever writes these. Rows
    are never updated. The row without a provider sums over all listings of its contract.
    """

    serving = AddressField()
    provider = AddressField(default="")
    changes = models.BigIntegerField(default=0, help_text="rows of ServiceChange")
    items = models.BigIntegerField(default=0, help_text="rows of Settlement")
    in_part = models.BigIntegerField(default=0, help_text="of a status in IN_PART")
    refused = models.BigIntegerField(default=0, help_text="of a status not in ACCEPTED")
    settled = SumField(default=0, help_text="of accepted items, neuron")
    # What items claimed without being paid: any number that a stranger likes.
    unsettled = SumField(default=0, help_text="of accepted items, neuron")
    refused_amount = SumField(default=0, help_text="`unsettled` of refused items, neuron")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "serving"], name="total_once")
        ]

    def __str__(self) -> str:
        return f"{self.items} settlements and {self.changes} changes of {self.provider}"


class Projection(models.Model):
    """How far the fold has come, by which VERSION of its rules."""

    name = models.CharField(max_length=40, primary_key=True)
    version = models.IntegerField()
    final_block = models.BigIntegerField(default=-1)
    pending_block = models.BigIntegerField(default=-1)
    surplus = NeuronField(
        default=0, help_text="native balance of the ledger contract that belongs to nobody, neuron"
    )
    pending_surplus = NeuronField(db_default=0, help_text="the same at the pending block")
    unread = models.BooleanField(
        default=False, help_text="a range was read sparsely: views are due at the next full one"
    )

    def __str__(self) -> str:
        return f"{self.name} v{self.version} at {self.final_block}"


class Reconciliation(models.Model):
    """One comparison of our rows with the contracts' own views, and what differed."""

    SAMPLE, EVERYTHING = "sample", "everything"

    at = models.DateTimeField()
    seconds = models.FloatField(default=0, help_text="how long it took")
    scope = models.TextField(help_text="sample, or everything (check_index)")
    block = models.BigIntegerField(default=-1)
    block_hash = HashField(default="")
    compared = models.JSONField(default=dict, help_text="entities compared, by kind")
    drift = models.IntegerField(default=0, help_text="how many values differed")
    differences = models.JSONField(default=list, help_text="the first of them")
    error = models.TextField(default="", help_text="why there is no result")

    def __str__(self) -> str:
        return f"{self.scope} at {self.block}: {self.error or self.drift}"

    @property
    def entities(self) -> int:
        """How many entities were compared."""
        return sum(self.compared.values())
