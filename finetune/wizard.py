"""The wizard: a draft grows by five steps, and becomes a task with one signature."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import limits
from accounts.errors import Problem
from accounts.models import User
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from finetune import broker, drafts, pages, pricing, problems, selectors
from finetune.errors import BrokerError, BrokerRefused
from finetune.models import Dataset, DatasetState, Draft, Passage, Place, PlaceState, Task, Way
from finetune.pricing import Price
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing, Position
from protocol import tuning
from protocol.tuning import BadParameters

STEPS = tuple(name for name, _label in pages.STEPS)
MOST_DRAFTS = 20
#: Brokers keep a dataset that no task has used for about a day: before that it is sent once more.
KEPT_FOR = timedelta(hours=18)
#: The largest there is: after it the contract settles nothing (contracts.md 6.5).
_LAST_NONCE = 2**256 - 1
#: nonce = milliseconds × 10,000 + this (provider-protocol.md 6.5).
_NONCE_TAIL = 40
#: A number of JSON.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def default_parameters() -> str:
    """The documentation's example, as it would be signed."""
    return as_text({key: rule.default for key, rule in tuning.PARAMETERS.items()})


def as_text(values: dict[str, str]) -> str:
    """JSON with the numbers exactly as they were written: `0.0002` never becomes `2e-4`. What JSON
    has no number for is a string there, so that its own setting is found wrong, and no other."""
    typed = {key: values[key].strip() for key in tuning.PARAMETERS}
    numbers = {
        key: text if _NUMBER.fullmatch(text) else json.dumps(text, ensure_ascii=False) if text
        else "null" for key, text in typed.items()
    }  # fmt: skip
    lines = [f'  "{key}": {number}' for key, number in numbers.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def begin(user: User) -> Draft:
    """A new draft; the oldest ones give way. Raises TooMany."""
    limits.spend("tuning-drafts", user.address, limit=60, seconds=600)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # so that MOST_DRAFTS holds
        stale = drafts.of(user).values_list("pk", flat=True)
        Draft.objects.filter(pk__in=list(stale[MOST_DRAFTS - 1 :])).delete()
        return Draft.objects.create(user=user, parameters=default_parameters())


def listing_of(draft: Draft) -> Listing | None:
    """The listing that a draft is for, as it is on the chain now."""
    if not draft.provider:
        return None
    return ledger.service(Kind.FINE_TUNING, draft.provider, draft.service_name)


def not_offered() -> Problem:
    return Problem("unknown_service", _("This provider offers no fine-tuning now."))


def choose_model(draft: Draft, provider: str, service_name: str, model: str) -> None:
    """Step 1. Raises Problem for what is not offered."""
    listing = ledger.service(Kind.FINE_TUNING, provider, service_name)
    if listing is None:
        raise not_offered()
    if not model or len(model) > 200:
        raise Problem("unknown_model", _("Choose one of the provider's models."))
    draft.provider, draft.serving = listing.provider, listing.serving
    draft.service_name, draft.model = listing.service_name, model
    _keep(draft, "provider", "serving", "service_name", "model")


def choose_dataset(draft: Draft, dataset: Dataset | None, root: str) -> None:
    """Step 2: one of the person's datasets, or the storage root of one. Raises Problem."""
    root = root.strip().lower()
    draft.dataset, draft.dataset_hash = dataset, "" if dataset is not None else root
    if dataset is None and not tuning.is_hash(root):
        raise Problem("no_dataset", _("Choose a dataset, or write a root: 0x and 64 hex digits."))
    if dataset is not None and dataset.state != DatasetState.GOOD:
        raise Problem("dataset_not_ready", _("This dataset has problems or is not checked yet."))
    if _out_of_reach(draft):
        raise Problem("dataset_gone", _("Its bytes were deleted here. Bring the file once more."))
    _keep(draft, "dataset", "dataset_hash")


def _out_of_reach(draft: Draft) -> bool:
    """Whether only what is known of its dataset was kept: nobody has bytes that a task can use."""
    gone = draft.dataset is not None and draft.dataset.file_id is None
    return gone and place_of(draft) is None


def configure(draft: Draft) -> None:
    """Step 3: its parameters. Raises tuning.BadParameters with every problem at once."""
    tuning.parse_parameters(draft.parameters)
    _keep(draft, "parameters", "wait")


def _keep(draft: Draft, *names: str) -> None:
    """Store what one step says and nothing else: another tab may be at another step."""
    draft.pending = None
    values = {name: getattr(draft, name) for name in names}
    rows = Draft.objects.filter(pk=draft.pk)
    # It may have become a task meanwhile, or been deleted: what was written stays.
    if not rows.update(**values, pending=None, deleted_at=None, updated_at=timezone.now()):
        draft.save(force_insert=True)


def values_of(text: str) -> dict[str, str]:
    """The five numbers as they are written in `text`; "" where one is missing."""
    try:
        tuning.parse_parameters(text)
        found = json.loads(text, parse_float=str, parse_int=str)
    except BadParameters:
        found = {}
    return {key: found.get(key, "") for key in tuning.PARAMETERS}


def fields_of(text: str) -> dict[str, str]:
    """The same, with what is wrong in a number left for its field to say. Raises BadParameters
    where something of `text` has no field."""
    try:
        tuning.parse_parameters(text)
    except BadParameters as error:
        if error.problems.keys() - tuning.PARAMETERS.keys():
            raise
    found = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    written = {key: found.get(key) for key in tuning.PARAMETERS}
    return {key: "" if one is None else str(one) for key, one in written.items()}


def position_of(draft: Draft) -> Position | None:
    return ledger.position(draft.user.address, draft.provider, draft.serving)


def price_of(draft: Draft, listing: Listing, held: Position | None) -> Price | None:
    """Step 4; None for a dataset that only its root is known of."""
    if draft.dataset is None:
        return None
    return pricing.price(
        model=draft.model,
        tokens=draft.dataset.tokens,
        epochs=tuning.parse_parameters(draft.parameters).num_train_epochs,
        each=listing.price_per_token,
        free=held.spendable if held else 0,
    )


def missing_step(draft: Draft) -> str:
    """The first step that lacks something, "sign" when all is there."""
    if not draft.provider or not draft.model:
        return "model"
    if (draft.dataset is None and not tuning.is_hash(draft.dataset_hash)) or _out_of_reach(draft):
        return "dataset"
    try:
        tuning.parse_parameters(draft.parameters)
    except BadParameters:
        return "config"
    return "sign"


# --- the signature --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What the wallet signs: 32 bytes (0x-hex), what they mean, and the price that is not among
    them (neuron per token)."""

    digest: str
    nonce: int
    dataset_hash: str
    price: int


def place_of(draft: Draft) -> Place | None:
    """Where the dataset is so that this provider can take it: in its machine, or in storage."""
    if draft.dataset is None:
        return None
    there = Place.objects.filter(dataset=draft.dataset, state=PlaceState.THERE)
    lately = timezone.now() - KEPT_FOR
    tee = there.filter(way=Way.TEE, provider=draft.provider, updated_at__gt=lately).first()
    return tee or there.filter(way=Way.STORAGE).first()


def sending_of(draft: Draft) -> Place | None:
    """How far the dataset is on its way into the provider's machine."""
    rows = Place.objects.filter(dataset=draft.dataset, way=Way.TEE, provider=draft.provider)
    return rows.first() if draft.dataset else None


def hash_of(draft: Draft) -> str:
    """What the task calls its dataset. Raises Problem while the provider could not find it."""
    if draft.dataset is None:
        return draft.dataset_hash
    place = place_of(draft)
    if place is None:
        raise Problem("dataset_not_sent", _("The provider does not have the dataset yet."))
    return draft.dataset.keccak if place.way == Way.TEE else draft.dataset.root


def prepare(draft: Draft) -> Wanted:
    """What is to be signed now: the same as before while nothing has changed, so that two tabs sign
    the same, and a task whose row was lost is found by its nonce. Raises Problem."""
    with transaction.atomic():
        if not drafts.of(draft.user).select_for_update().filter(pk=draft.pk).exists():
            raise draft_changed()
        draft.refresh_from_db()
        return _prepare(draft)


def _prepare(draft: Draft) -> Wanted:
    step = missing_step(draft)
    if step != "sign":
        raise Problem(
            "draft_incomplete", _("The step “%(step)s” is not done yet.") % {"step": step}
        )
    listing, held = listing_of(draft), position_of(draft)
    if listing is None:
        raise not_offered()
    if held is None or held.spendable <= 0:
        raise Problem(
            "no_account",
            _("You hold nothing for fine-tuning at this provider."),
            _("Transfer first."),
        )
    if held.nonce >= _LAST_NONCE:
        raise Problem(
            "nonce_spent",
            _(
                "This provider has used up the numbers of your account there: the contract settles "
                "no further task of you with it, and releases no key."
            ),
            _("Choose another provider."),
        )
    stuck = selectors.refusing(held)
    if stuck is not None and stuck.settled:
        raise Problem(
            "results_refused",
            _(
                "Your last result at this provider was settled without your acknowledgement. The "
                "contract takes no further result of you from it: the model would be lost."
            ),
            _("Choose another provider, or close your compute account and open it anew."),
        )
    dataset_hash, price = hash_of(draft), listing.price_per_token
    shown = {"dataset_hash": dataset_hash, "price": str(price)}
    nonce = _nonce_of(draft, shown)
    if nonce <= held.nonce:
        nonce = max(int(time.time() * 1000) * 10_000 + _NONCE_TAIL, held.nonce + 1)
    digest = tuning.task_hash(draft.user.address, nonce, dataset_hash)
    draft.pending = {"nonce": str(nonce), **shown}
    draft.save(update_fields=["pending", "updated_at"])
    return Wanted("0x" + digest.hex(), nonce, dataset_hash, price)


def _nonce_of(draft: Draft, shown: dict[str, str]) -> int:
    """That of the same task as it was shown before, unless it is one already; else 0."""
    pending = dict(draft.pending or {})
    nonce = int(pending.pop("nonce", 0))
    made = Task.objects.filter(user=draft.user, provider=draft.provider, nonce=nonce)
    return nonce if pending == shown and not made.exists() else 0


def draft_changed() -> Problem:
    return Problem("draft_changed", _("The draft has changed since."), _("Look at it once more."))


def create(draft: Draft, signature: str, signed_nonce: str = "") -> Task:
    """Hand the task in at the provider. `signed_nonce`: what the signature is of, "" where that is
    not said. Raises Problem; the draft stays as it was then."""
    listing, pending = listing_of(draft), draft.pending
    if listing is None or pending is None or missing_step(draft) != "sign":
        raise draft_changed()
    if pending.get("price") != str(listing.price_per_token):
        raise Problem(
            "price_changed",
            _("The provider has changed its price since it was shown to you."),
            _("Look at it once more."),
        )
    if signed_nonce not in ("", pending["nonce"]):
        raise draft_changed()
    nonce, dataset_hash = int(pending["nonce"]), str(pending["dataset_hash"])
    hash_ = tuning.task_hash(draft.user.address, nonce, dataset_hash)
    problems.require_signed(draft.user.address, hash_, signature)
    try:
        model_hash, remote = async_to_sync(_hand_in)(
            draft, draft.user.address, listing, nonce, dataset_hash, signature
        )
    except BrokerRefused as error:
        problem = refusal(error)
        if problem.code == "nonce":  # the next signature is over another one
            Draft.objects.filter(pk=draft.pk, pending=pending).update(pending=None)
        raise problem from None
    except BrokerError as error:
        raise problems.silent("provider_silent", error, _("Try again.")) from None
    try:
        return _written_down(draft, listing, nonce, dataset_hash, signature, model_hash, remote)
    except IntegrityError:
        raise Problem(
            "provider_wrong",
            _("The provider answered with the number of another task."),
            _("Choose another provider."),
            status=502,
        ) from None


async def _hand_in(
    draft: Draft, user: str, listing: Listing, nonce: int, dataset_hash: str, signature: str
) -> tuple[str, UUID]:
    async with broker.connected(listing.url) as connection:
        model_hash = tuning.MODEL_HASHES.get(draft.model)
        if model_hash is None:
            own = {model.name: model.hash for model in await connection.models()}
            model_hash = own.get(draft.model, "")
        if not model_hash:
            raise BrokerRefused(400, f"unsupported model: {draft.model[:80]}")
        body = {
            "userAddress": user,
            "preTrainedModelHash": model_hash,
            "datasetHash": dataset_hash,
            "trainingParams": draft.parameters,
            "fee": "0",
            "nonce": str(nonce),
            "signature": signature,
            "wait": draft.wait,
        }
        try:
            return model_hash, await connection.create(user, body)
        except BrokerError:
            # It may have taken the task and the answer got lost, now or at the try before: the
            # nonce tells. A second task with the same nonce cannot exist.
            with suppress(BrokerError):  # without that list, its first answer stands
                for said in await connection.tasks(user):
                    if said.nonce == nonce:
                        return model_hash, said.id
            raise


#: What brokers say, and what that means for the person (provider-protocol.md 6.3).
_REFUSALS = (
    (
        "unfinished task",
        "unfinished_task",
        N_(
            "Wait for your other task there, or cancel it. One that is not in your list is brought "
            "there by “Find my tasks” beside the provider."
        ),
    ),
    (
        "previous deliverable not acknowledged",
        "result_waits",
        N_("Acknowledge that result first, on the page of its task."),
    ),
    ("in-progress tasks", "provider_busy", N_("Choose “queue” in the configuration, or wait.")),
    ("queue is full", "queue_full", N_("Try again later, or choose another provider.")),
    ("not acknowledge the provider", "not_acknowledged", N_("Acknowledge its signing key first.")),
    ("service not acknowledge", "service_unacknowledged", N_("Choose another provider for now.")),
    ("unsupported model", "unsupported_model", N_("Choose another model.")),
    ("nonce", "nonce", N_("Sign once more.")),
    ("insufficient balance", "insufficient", N_("Transfer more to this provider.")),
)


def refusal(error: BrokerRefused) -> Problem:
    """A provider's no as one of our problems: its own words, and what to do."""
    for part, code, fix in _REFUSALS:
        if part in str(error):
            return problems.said(error, code, _(fix))
    return problems.said(error)


def _written_down(
    draft: Draft,
    listing: Listing,
    nonce: int,
    dataset_hash: str,
    signature: str,
    model_hash: str,
    remote: UUID,
) -> Task:
    now = timezone.now()
    standing = attestation.standing_of(ServiceKey.of(listing))
    signed = {
        "serving": listing.serving,
        "service_name": listing.service_name,
        "url": listing.url,
        "model": draft.model,
        "model_hash": model_hash,
        "dataset": draft.dataset,
        "dataset_hash": dataset_hash,
        "parameters": draft.parameters,
        "price_per_token": listing.price_per_token,
        "signature": signature,
        "tee_signer": listing.tee_signer,
        "verification": standing.verification_id,
        "verdict": standing.overall,
        "created_at": now,
        "look_next": now,
    }
    with transaction.atomic():
        # Of two clicks both get here (`_hand_in`), and another tab may have found it there already.
        # By its nonce it is the one: a provider that names another must not have it written over.
        task, _made = Task.objects.update_or_create(
            user=draft.user,
            provider=listing.provider,
            remote_id=remote,
            nonce=nonce,
            defaults=signed,
        )
        Passage.objects.get_or_create(task=task, stage=tuning.INIT, defaults={"at": now})
        # One that was edited in another tab since (`pending`) stays: its task has the old settings.
        Draft.objects.filter(pk=draft.pk, pending=draft.pending).delete()
    return task
