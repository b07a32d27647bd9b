"""Listings from events and calldata: fields, order, stake, acknowledgement, timeline. Pure.

ServiceUpdated leaves out the signer, additional info (IS) and models (FT); the calldata of a
direct transaction carries them, otherwise the service is read by a view (contracts.md 8.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger.context import LOSSY, Context
from ledger.state import Service, Serving
from protocol import events

Fields = dict[str, Any]

#: timeline.change (interfaces.md 3) -> the fields it covers, per kind of contract.
INFERENCE_GROUPS: dict[str, tuple[str, ...]] = {
    "price": ("input_price", "output_price"),
    "url": ("url",),
    "model": ("model",),
    "type": ("service_type",),
    "verifiability": ("verifiability",),
    "signer": ("tee_signer",),
    "additional_info": ("additional_info",),
}
FINE_TUNING_GROUPS: dict[str, tuple[str, ...]] = {
    "price": ("price_per_token",),
    "url": ("url",),
    "quota": ("quota",),
    "occupied": ("occupied",),
    "models": ("model_list",),
    "signer": ("tee_signer",),
}
GROUPS = {"inference": INFERENCE_GROUPS, "fine-tuning": FINE_TUNING_GROUPS}
AMOUNTS = {"input_price", "output_price", "price_per_token", "stake"}
#: A change in one of these withdraws the owner's acknowledgement (contracts.md 6.6).
RESETS = {
    "inference": {"service_type", "model", "verifiability", "additional_info", "tee_signer"},
    "fine-tuning": {"tee_signer"},
}


def quota(raw: dict[str, Any]) -> dict[str, Any]:
    """The quota of a fine-tuning service as the API names its parts."""
    return {
        "cpu_count": raw["cpuCount"],
        "node_memory": raw["nodeMemory"],
        "gpu_count": raw["gpuCount"],
        "node_storage": raw["nodeStorage"],
        "gpu_type": raw["gpuType"],
    }


def on_inference_updated(ctx: Context, serving: Serving, e: events.InferenceServiceUpdated) -> None:
    found: Fields = {
        "service_type": e.service_type,
        "url": e.url,
        "input_price": e.input_price,
        "output_price": e.output_price,
        "updated_at_unix": e.updated_at,
        "model": e.model,
        "verifiability": e.verifiability,
    }
    call = ctx.call
    if call and call[0] == "addOrUpdateService" and ctx.tx and ctx.tx.sender == e.provider:
        params = call[1]["params"]
        found["additional_info"] = params["additionalInfo"]
        found["tee_signer"] = params["teeSignerAddress"]
    else:
        ctx.want_service(serving, e.provider)
    update(ctx, serving, e.provider, found)


def on_fine_tuning_updated(
    ctx: Context, serving: Serving, e: events.FineTuningServiceUpdated
) -> None:
    found: Fields = {
        "url": e.url,
        "quota": quota(e.quota),
        "price_per_token": e.price_per_token,
        "tee_signer": e.tee_signer_address,
        "occupied": e.occupied,
        "updated_at_unix": ctx.header.timestamp,
    }
    call = ctx.call
    if call and call[0] == "addOrUpdateService" and ctx.tx and ctx.tx.sender == e.provider:
        found["model_list"] = tuple(call[1]["models"])
    else:
        ctx.want_service(serving, e.provider)
    update(ctx, serving, e.provider, found)


def update(ctx: Context, serving: Serving, provider: str, found: Fields) -> None:
    """Apply a registration or an update with everything known about it."""
    service = ctx.service(serving, provider)
    if any(isinstance(v, str) and LOSSY in v for v in found.values()) or (
        LOSSY in service.additional_info
    ):
        ctx.want_service(serving, provider)  # text that is not storable may have changed unseen
    if service.removed:
        _register(ctx, serving, service, found)
        return
    changed = _differences(service, found)
    record(ctx, service, found)
    if service.tee_signer_acknowledged and changed & RESETS.get(serving.kind, set()):
        acknowledge(ctx, service, False)


def _register(ctx: Context, serving: Serving, service: Service, found: Fields) -> None:
    serving = ctx.serving(serving.address)
    service.removed, service.tee_signer_acknowledged = False, False
    service.created_block = ctx.header.number
    service.position = len(serving.providers)
    serving.providers.append(service.provider)
    for name, value in found.items():
        setattr(service, name, value)
    ctx.change(service, "registered", None, snapshot(service))


def _differences(service: Service, found: Fields) -> set[str]:
    return {name for name, value in found.items() if getattr(service, name) != value}


def record(ctx: Context, service: Service, found: Fields) -> None:
    """Set the fields and add one timeline row per group that changed."""
    changed = _differences(service, found)
    before = {name: getattr(service, name) for name in changed}
    for name in changed:
        setattr(service, name, found[name])
    for change, names in GROUPS.get(service.kind, {}).items():
        if changed & set(names):
            ctx.change(
                service,
                change,
                {n: _json(n, before.get(n, getattr(service, n))) for n in names},
                {n: _json(n, getattr(service, n)) for n in names},
            )


def complete(ctx: Context, service: Service, found: Fields) -> None:
    """What a view adds to the logs of its block: to a registration there, else it has changed."""
    rows, registered = ctx.state.changes, (service.serving, service.provider, "registered")
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        if row.place.block != ctx.header.number:
            break
        if (row.serving, row.provider, row.change) == registered:
            told = _differences(service, found)
            for name in told:
                setattr(service, name, found[name])
            more = {name: value for name, value in snapshot(service).items() if name in told}
            rows[index] = row._replace(after={**row.after, **more})
            return
    record(ctx, service, found)


def acknowledge(ctx: Context, service: Service, value: bool, *, again: bool = False) -> None:
    """The owner's acknowledgement of the signer, with its timeline row when it changes, or when the
    owner gives it `again`: to a new URL, which does not withdraw it (contracts.md 6.6)."""
    if service.tee_signer_acknowledged != value or again:
        service.tee_signer_acknowledged = value
        signer = service.tee_signer if value else _acknowledged_one(ctx, service)
        about = {"tee_signer": signer}
        ctx.change(service, "acknowledged" if value else "unacknowledged", None, about)


def _acknowledged_one(ctx: Context, service: Service) -> str:
    """The signer that was acknowledged until now: that of before, where it changed in this block
    and took the acknowledgement with it."""
    for row in reversed(ctx.state.changes):
        if row.place.block != ctx.header.number:
            break
        if (row.serving, row.provider) != (service.serving, service.provider):
            continue
        if row.change == "signer":
            return str(row.before["tee_signer"])
        if row.change == "acknowledged":
            break
    return service.tee_signer


def snapshot(service: Service) -> Fields:
    """Every field of a listing, as the timeline stores it."""
    names = [n for group in GROUPS.get(service.kind, {}).values() for n in group]
    return {name: _json(name, getattr(service, name)) for name in names}


def _json(name: str, value: Any) -> Any:
    if name in AMOUNTS:
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def on_removed(ctx: Context, serving: Serving, e: events.ServiceRemoved) -> None:
    """The last service of the array moves into the hole (contracts.md 2)."""
    service = ctx.service(serving, e.provider)
    if service.removed:
        return
    serving = ctx.serving(serving.address)
    before = snapshot(service)
    hole, last = service.position, serving.providers.pop()
    if last != e.provider:
        serving.providers[hole] = last
        ctx.service(serving, last).position = hole
    service.removed, service.tee_signer_acknowledged = True, False
    ctx.change(service, "removed", before, None)


def on_staked(ctx: Context, serving: Serving, e: events.ProviderStaked) -> None:
    _stake(ctx, ctx.service(serving, e.provider), e.amount, "staked")


def on_stake_returned(ctx: Context, serving: Serving, e: events.ProviderStakeReturned) -> None:
    _stake(ctx, ctx.service(serving, e.provider), 0, "stake_returned")


def _stake(ctx: Context, service: Service, amount: int, change: str) -> None:
    before, service.stake = service.stake, amount
    ctx.change(service, change, {"stake": str(before)}, {"stake": str(amount)})


def on_acknowledged(
    ctx: Context, serving: Serving, e: events.ProviderTEESignerAcknowledged
) -> None:
    service = ctx.service(serving, e.provider)
    if service.tee_signer != e.tee_signer_address:
        ctx.want_service(serving, e.provider)
    acknowledge(ctx, service, e.acknowledged, again=e.acknowledged)


def on_lock_time(ctx: Context, serving: Serving, e: events.LockTimeUpdated) -> None:
    ctx.serving(serving.address).lock_time_seconds = e.new_lock_time


def on_initialized(ctx: Context, serving: Serving, e: events.ContractInitialized) -> None:
    edited = ctx.serving(serving.address)
    edited.lock_time_seconds, edited.owner = e.lock_time, e.owner


def on_owner(ctx: Context, serving: Serving, e: events.OwnershipTransferred) -> None:
    ctx.serving(serving.address).owner = e.new_owner


HANDLERS: dict[type[Any], Callable[[Context, Serving, Any], None]] = {
    events.InferenceServiceUpdated: on_inference_updated,
    events.FineTuningServiceUpdated: on_fine_tuning_updated,
    events.ServiceRemoved: on_removed,
    events.ProviderStaked: on_staked,
    events.ProviderStakeReturned: on_stake_returned,
    events.ProviderTEESignerAcknowledged: on_acknowledged,
    events.LockTimeUpdated: on_lock_time,
    events.ContractInitialized: on_initialized,
    events.OwnershipTransferred: on_owner,
}
