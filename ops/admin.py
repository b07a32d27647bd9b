"""What `/admin/` shows of each table, and what it never shows.

Rows are read-only for everybody, superusers too: facts of the chain and of measurements are never
edited, and what belongs to people is theirs. The one form is a user's roles and whether their
wallet may sign in (`ops.admin_users`). Keys, tokens, conversations, files and people's own words
are not shown, not even sealed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from accounts import models as accounts
from accounts import roles
from accounts.models import User
from alerts import models as alerts
from attestation import models as attestation
from chain import models as chain
from finetune import models as finetune
from inference import models as inference
from inference.media import models as media
from ledger import models as ledger
from marketplace import models as market
from moderation import models as moderation
from operators import models as operators
from operators import models_listing as listings
from ops import models as ops
from ops.site import site
from probes import models as probes


class ReadOnly(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A table to look at. Lists do not count (tables of facts are long) and sort by key."""

    show_full_result_count = False
    paginator = InfinitePaginator
    list_per_page = 50
    actions = None
    compressed_fields = True

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kw: Any) -> Any:
        """A row is called by its key: its own name may be somebody's words."""
        if (row := context.get("original")) is not None:
            context |= {"original": Row(row), "subtitle": str(Row(row))}
        return super().render_change_form(request, context, *args, **kw)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404("What staff changed stands in the record of moderation.")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the list's own filters ask for. Django takes questions about every column from
        the address bar, which would spell hashes, sealed keys and open sessions letter by letter.
        """
        name, _, how = lookup.partition("__")
        plain = how in ("", "exact", "id__exact", "isnull") and "\0" not in value
        return plain and name in self.list_filter and super().lookup_allowed(lookup, value, request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return site.has_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Row:
    """What a page calls a row."""

    def __init__(self, row: models.Model) -> None:
        self.pk = row.pk
        self._meta = row._meta

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


def may_change(request: HttpRequest) -> bool:
    """Admins; auditors only look."""
    user = request.user
    return isinstance(user, User) and roles.Role.ADMIN in roles.of(user)


def show(
    model: type[models.Model],
    columns: str,
    *,
    search: str = "",
    filters: str = "",
    only: str = "",
    without: str = "",
) -> None:
    """Register a table. Names stand in one text, separated by blanks. A row's page shows all
    columns of the table (never binary ones) except `without`; tables of people name theirs by
    `only`.
    """
    every = [f.name for f in model._meta.concrete_fields if not isinstance(f, models.BinaryField)]
    fields = only.split() or [name for name in every if name not in without.split()]
    if plural := _PLURALS.get(model.__name__):
        model._meta.verbose_name_plural = plural
    site.register(
        model,
        type(
            f"{model.__name__}Admin",
            (ReadOnly,),
            {
                "list_display": columns.split(),
                "list_filter": filters.split(),
                "search_fields": search.split(),
                "ordering": ["-pk"],
                "fields": fields,
                "list_select_related": _related(model, columns.split()),
            },
        ),
    )


#: Where an s at the end is wrong. Only these lists speak of tables in the plural; as options of the
#: models each would be a migration.
_PLURALS = {
    "Delivery": "deliveries",
    "Identity": "identities",
    "ProviderFacts": "provider facts",
    "BatchGas": "gas of batches",
    "Health": "health",
}


def _related(model: type[models.Model], names: Iterable[str]) -> list[str]:
    found = {f.name for f in model._meta.concrete_fields if f.is_relation}
    return [name for name in names if name in found]


# --- facts of the chain, as they came ------------------------------------------------------------

show(chain.RawBlock, "number hash timestamp", search="=number =hash")
show(chain.RawTransaction, "hash block_number sender to value status", search="=hash")
show(chain.RawLog, "block_number log_index address tx_hash", search="=block_number =tx_hash")
show(chain.RawCall, "block_number to data", search="=block_number")
show(chain.Coverage, "source from_block to_block", search="=source")
show(chain.Head, "chain_id head_block indexed_block final_block halted checked_at")
show(chain.NodeState, "name state head_block latency_ms requests failures updated_at")

# --- rows made of them; every one can be deleted and rebuilt --------------------------------------

show(ledger.ServingContract, "service_name kind address recommended pending", filters="kind")
show(ledger.Ledger, "user available total exists block pending", search="=user")
show(
    ledger.SubAccount,
    "user provider serving balance pending_refund acknowledged pending",
    search="=user =provider",
)
show(
    ledger.Service,
    "provider kind model url removed tee_signer_acknowledged block pending",
    search="=provider",
    filters="kind removed pending",
    without="search",
)
show(ledger.ServiceChange, "block provider change before after", search="=provider")
show(ledger.Movement, "block user kind balance amount balance_after", search="=user =tx_hash")
show(
    ledger.Settlement,
    "block provider user status settled unsettled",
    search="=provider =user =tx_hash",
)
show(ledger.ServiceTotal, "provider serving items settled unsettled refused", search="=provider")
show(ledger.Projection, "name version final_block pending_block surplus unread")
show(ledger.Reconciliation, "at scope block drift seconds error")

# --- what was measured and judged ----------------------------------------------------------------

show(
    attestation.Verification,
    "started_at provider kind trigger outcome overall",
    search="=provider",
    filters="outcome overall kind",
    without="requested_by",
)
show(attestation.Standing, "provider kind overall checked_at error", search="=provider")
show(attestation.Finding, "opened_at kind provider other_provider closed_at", search="=provider")
show(attestation.Identity, "trait provider since", search="=provider", filters="trait")
show(attestation.VerdictChange, "at change provider before after", search="=provider")
show(attestation.Retrieval, "fetched_at source status error", filters="source")
show(attestation.Document, "sha256 size")
show(attestation.Payment, "at provider amount", search="=provider")
show(attestation.Request, "at provider kind", search="=provider", without="requested_by")
show(probes.Probe, "at provider kind state failure answer_ms", search="=provider")
show(probes.Health, "provider kind state since checked_at failures next_at", search="=provider")
show(probes.Bucket, "start span provider probes answered", search="=provider")
show(probes.ExchangeRate, "quoted_at source micro at")

# --- people's own rows: that they exist, never what is in them ------------------------------------

show(
    accounts.Intent,
    "created_at user action state tx_hash",
    search="=user__address =tx_hash",
    filters="state action",
    only="id user chain_id action to value state code tx_hash block fee created_at updated_at "
    "submitted_at checked_at",
)
show(
    accounts.ProviderKey,
    "created_at user provider token_id expires_at",
    search="=user__address =provider",
    only="id user provider serving token_id generation created_at expires_at last_used_at",
)
show(
    accounts.AccessToken,
    "created_at user expires_at last_used_at revoked_at",
    search="=user__address",
    only="id user may_infer may_read verified_only spend_limit spent per_minute created_at "
    "expires_at last_used_at revoked_at",
)
show(
    accounts.SignIn,
    "created_at user seen_at",
    search="=user__address",
    only="id user created_at seen_at",
)
show(
    inference.Chat,
    "created_at medium asked deleted_at",
    only="id medium asked deleted_at created_at updated_at",
    filters="medium",
)
show(
    inference.Turn,
    "created_at state provider model failure verdict total_ms",
    search="=provider",
    filters="state verdict failure",
    only="id state endpoint provider serving model input_price output_price max_tokens complete "
    "prompt_tokens completion_tokens fee fee_kind first_token_ms total_ms failure failure_status "
    "verdict verdict_reason scheme signature_tries created_at ended_at",
)
show(inference.Share, "created_at ends_at", only="id created_at ends_at")
show(media.File, "made_at role media_type size", only="id role media_type size made_at")
show(media.Job, "pk path count working_since", only="path count working_since")
show(
    finetune.Dataset,
    "created_at user state kind size rows",
    search="=user__address",
    filters="state",
    only="id user size state kind rows duplicates tokens problem_count created_at",
)
show(
    finetune.Place,
    "updated_at way provider state sent",
    filters="state way",
    only="id way provider state sent updated_at",
)
show(
    finetune.Task,
    "created_at user provider model progress failures",
    search="=user__address =provider",
    only="id user provider serving service_name model progress fee created_at looked_at look_next "
    "failures cancelled_at result_state",
)
show(
    finetune.Deployment,
    "asked_at provider state look_next",
    search="=provider",
    only="id provider serving state asked_at told_at look_next",
)
show(finetune.ProviderFacts, "asked_at provider told_at", search="=provider")
show(finetune.Passage, "at stage said", only="id stage at said")
show(finetune.StoredFile, "created_at user size", search="=user__address", only="id user size")
show(
    alerts.Rule,
    "created_at user kind provider by_email by_hook",
    search="=user__address",
    only="id user kind provider threshold percent by_email by_hook created_at snoozed_until "
    "deleted_at",
)
show(
    alerts.Hook,
    "created_at user enabled failing_since",
    search="=user__address",
    only="id user enabled created_at failing_since",
)
show(
    alerts.Delivery,
    "created_at user state tried due_at",
    search="=user__address",
    filters="state",
    only="id user state created_at due_at tried",
)
show(alerts.Attempt, "at milliseconds status", only="id at milliseconds status")

# --- operators ------------------------------------------------------------------------------------

show(operators.BatchGas, "tx_hash block sender gas_used gas_price", search="=tx_hash")
show(operators.Debt, "asked_at provider fee users error", search="=provider")
show(
    listings.Note,
    "signed_at provider kind starts_at ends_at withdrawn_at",
    search="=provider",
    without="signature",
)
show(
    listings.Profile,
    "signed_at provider name domain domain_state",
    search="=provider",
    without="signature",
)
show(listings.SetupRun, "created_at user kind state", only="id user kind state created_at")
show(listings.SelfTest, "created_at user kind state", only="id user kind state created_at")

# --- what staff does ------------------------------------------------------------------------------

show(market.Look, "at states answered failed database")
show(market.ComponentDay, "day component up degraded down", filters="component")
show(market.Announcement, "starts_at ends_at kind title", filters="kind")
show(market.Update, "at announcement text")
show(ops.FailedTask, "last_at name error times state", search="name error", filters="state")
show(ops.Job, "created_at name state code started_by", filters="state name")
show(
    ops.PasswordAccount,
    "name user enrolled_at",
    only="id user name enrolled_at created_at",
)

show(
    moderation.Act,
    "number at area actor action subject_kind subject public",
    search="=actor =subject =action",
    filters="area action",
    without="salt",
)
show(moderation.Effect, "at kind subject_kind subject until actor", search="=provider =subject")
show(moderation.Item, "opened_at kind subject_kind subject risk claimed_by", search="=subject")

#: Tables that are not shown at all: people's own words, files, what they ask to take away or erase,
#: ways to reach them, and rows that only join others.
ABSENT: frozenset[type[models.Model]] = frozenset(
    {
        accounts.Erasure,
        accounts.Export,
        accounts.ExportPiece,
        accounts.Watch,
        alerts.Channels,
        alerts.Held,
        alerts.Notification,
        finetune.Draft,
        finetune.LogPart,
        finetune.Piece,
        inference.OwnPreset,
        inference.PresetVersion,
        listings.ListingDraft,
        moderation.Anyway,
        moderation.Report,
        probes.Sharer,
    }
)
