"""A dataset is published in 0G storage: announced on the chain by its owner's wallet, then handed
over segment by segment by a worker (provider-protocol.md 7.2-7.4).

Whether a file is announced is storage's word alone, whoever paid for it and by which transaction: a
transaction that the wallet replaced, or a page that was closed, changes nothing. What was handed
over once is not handed over again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import intents, money, node, unheard
from accounts.crypto import Unreadable
from accounts.errors import NodeError, Problem, RpcError
from accounts.services import GAS_HEADROOM_PERCENT, too_poor
from finetune import files, gateway, problems
from finetune.errors import StorageError, StorageRefused, StorageSilent
from finetune.gateway import Info
from finetune.models import Dataset, DatasetState, Place, PlaceState, StoredFile, Way
from protocol import abi, storage, tuning
from protocol.storage import SEGMENT_BYTES, FileTree

FLOW = "Flow"
#: No announcement costs more, whatever the contract's market says; neuron. (100 MB cost 0.013 0G.)
MOST_FEE = 10**17
#: Since the hash was told: then nobody waits any more for a block or for storage.
GIVE_UP = dt.timedelta(hours=1)
#: Looks of a worker (one every five seconds) at which no node knows the hash that was told. A
#: wallet's node may be ahead of ours, but not for minutes.
UNKNOWN_LOOKS = 24
#: Until `GIVE_UP` a given-up hash is asked for so often: it may come into a block after all.
LATE = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Announcement:
    """The transaction that makes a file known: `fee` goes to the contract `to`; neuron. `nonce`:
    the sender's next one."""

    to: str
    data: str
    fee: int
    gas: int
    gas_cost: int
    wallet: int
    nonce: int


def place_of(dataset: Dataset) -> Place | None:
    """How far it is (1 query)."""
    return dataset.places.filter(way=Way.STORAGE, provider="").first()


def known(dataset: Dataset) -> Info | None:
    """What storage knows of it now; None where it was never announced. Raises Problem."""
    try:
        return async_to_sync(_info)(dataset.root)
    except StorageError as error:
        raise problems.silent("storage_silent", error, _("Try again later.")) from None


async def _info(root: str) -> Info | None:
    async with gateway.connected() as connection:
        return await connection.info(root)


def announcement(dataset: Dataset, sender: str) -> Announcement:
    """What the wallet would send, simulated at the newest block. Raises Problem, NodeError."""
    if dataset.state != DatasetState.GOOD or dataset.file is None:
        raise Problem(
            "dataset_not_ready", _("Only a dataset that is here and good can be published.")
        )
    try:
        flow = async_to_sync(_flow)()
    except StorageError as error:
        raise problems.silent("storage_silent", error, _("Try again later.")) from None
    fee = storage.padded_chunks(dataset.size) * _price(flow)
    if fee > MOST_FEE:
        raise Problem(
            "storage_fee",
            _("Storage asks %(fee)s 0G for it: too much.") % {"fee": money.short(fee)},
        )
    nodes = [{"root": bytes.fromhex(r[2:]), "height": height} for r, height in _nodes(dataset)]
    submission = {"length": dataset.size, "tags": b"", "nodes": nodes}
    data = abi.encode_call(FLOW, "submit", {"data": submission, "submitter": sender})
    request = {"from": sender, "to": flow, "data": data, "value": hex(fee)}
    outcome, estimate, price, balance, nonce = node.call_many(
        [
            ("eth_call", [request, "latest"]),
            ("eth_estimateGas", [request]),
            ("eth_gasPrice", []),
            ("eth_getBalance", [sender, "latest"]),
            ("eth_getTransactionCount", [sender, "pending"]),
        ]
    )
    wallet = node.quantity(balance)
    if wallet < fee:
        raise too_poor(wallet, fee, _("Send 0G to your wallet first."))
    if isinstance(outcome, RpcError) or isinstance(estimate, RpcError):
        raise Problem("storage_refuses", _("The storage contract would refuse it."))
    gas = node.quantity(estimate) * (100 + GAS_HEADROOM_PERCENT) // 100
    gas_cost, next_nonce = gas * node.quantity(price), node.quantity(nonce)
    found = Announcement(flow, data, fee, gas, gas_cost, wallet, next_nonce)
    if wallet < fee + found.gas_cost:
        raise too_poor(wallet, fee + found.gas_cost, _("Send 0G to your wallet first."))
    return found


async def _flow() -> str:
    async with gateway.connected() as connection:
        return await connection.flow()


def _price(flow: str) -> int:
    """Neuron for 256 bytes (provider-protocol.md 7.2). Raises Problem."""
    try:
        raw = node.call("eth_call", {"to": flow, "data": abi.encode_call(FLOW, "market")}, "latest")
        market = abi.decode_result(FLOW, "market", raw)
        asked = {"to": market, "data": abi.encode_call(FLOW, "pricePerSector")}
        told = node.call("eth_call", asked, "latest")
        return int(abi.decode_result(FLOW, "pricePerSector", told))
    except (abi.AbiError, RpcError):
        raise Problem(
            "storage_contract", _("What storage names as its contract does not answer like it.")
        ) from None


def _nodes(dataset: Dataset) -> list[tuple[str, int]]:
    """Kept when it was checked; made anew for one that was checked before they were kept."""
    if not dataset.nodes and dataset.file is not None:
        dataset.nodes = list(files.hashes(dataset.file).nodes)
        dataset.save(update_fields=["nodes"])
    return [(str(root), int(height)) for root, height in dataset.nodes]


# --- the wallet -----------------------------------------------------------------------------------


def confirm(dataset: Dataset, sender: str, *, fee: str = "", again: bool = False) -> Announcement:
    """Hand it to the wallet. Raises Problem (409) where that pays for nothing, twice, or another
    `fee` (neuron) than was seen; NodeError. `again`: no request is open in the wallet any more."""
    seen = place_of(dataset)
    if known(dataset) is not None:
        raise Problem(
            "already_announced",
            _("0G storage knows this file already. There is nothing to pay."),
            _("Load this page again."),
            status=409,
        )
    found = announcement(dataset, sender)
    _before_asking(dataset, found, sender)
    if fee not in ("", str(found.fee)):
        raise intents.numbers_changed()
    with transaction.atomic():
        list(_same(dataset).select_for_update().order_by("pk"))
        place = place_of(dataset) or Place(
            dataset=dataset, way=Way.STORAGE, state=PlaceState.FAILED
        )
        free = (PlaceState.FAILED, PlaceState.ASKING) if again else (PlaceState.FAILED,)
        # Another tab may have been faster, with the same word that no request is open.
        late = seen is not None and place.updated_at != seen.updated_at
        busy = late or place.state not in free or _may_still_count(place)
        if busy or any(map(_holds, _twins(dataset))):
            raise Problem(
                "already_under_way",
                _("The announcement waits in your wallet, or was sent."),
                _("Answer the open request; nothing was sent twice."),
                status=409,
            )
        place.nonce_floor = found.nonce if place.nonce_floor is None else place.nonce_floor
        place.unsure |= place.state == PlaceState.ASKING  # that request may be open there still
        place.state, place.tx_hash, place.error = PlaceState.ASKING, "", ""
        place.save()
    return found


def _same(dataset: Dataset) -> QuerySet[Dataset]:
    """The person's datasets of exactly these bytes, which one announcement is for."""
    return Dataset.objects.filter(user=dataset.user_id, root=dataset.root)


def _twins(dataset: Dataset) -> list[Place]:
    """How far the newest others of these bytes are."""
    rows = Place.objects.filter(way=Way.STORAGE, dataset__in=_same(dataset))
    return list(rows.exclude(dataset=dataset).order_by("-updated_at")[: unheard.NONCES])


def _holds(twin: Place) -> bool:
    """Whether another dataset of the same bytes is being announced, or was so lately that storage
    may not have heard of it."""
    now = timezone.now()
    if twin.state == PlaceState.ASKING:
        return twin.updated_at > now - intents.TWIN_FOR
    if twin.state in (PlaceState.WAITING, PlaceState.SENDING):
        return True
    return twin.tx_at is not None and twin.tx_at > now - GIVE_UP and _may_still_count(twin)


def _before_asking(dataset: Dataset, asked: Announcement, sender: str) -> None:
    """Take up what the wallet sent without a word, for this or for another of the same bytes,
    before it is asked once more (`accounts.follow.before_asking`). Raises Problem (409) for that,
    and while it may wait for a block. A silent node changes nothing."""
    told = Place.objects.filter(dataset__user=dataset.user_id)
    # By the root, whatever it cost when the wallet was asked.
    call = unheard.Call(sender, asked.to, asked.data, None)
    for place in (place_of(dataset), *_twins(dataset)):
        if place is None or place.nonce_floor is None:
            continue
        try:
            searched = unheard.search(
                call, place.nonce_floor, lambda tx_hash: told.filter(tx_hash=tx_hash).exists()
            )
        except NodeError:
            continue
        if searched.tx_hash:
            _begin(place, (PlaceState.ASKING, PlaceState.FAILED), searched.tx_hash)
            raise intents.under_way(sent=True)
        floor = searched.floor
        Place.objects.filter(pk=place.pk, nonce_floor__lt=floor).update(nonce_floor=floor)
        if searched.waits:
            raise unheard.not_in_a_block()


def _may_still_count(place: Place) -> bool:
    """Whether a transaction of before is in a block, or may still come into one."""
    if not place.tx_hash:
        return False
    receipt = node.call("eth_getTransactionReceipt", place.tx_hash)
    if isinstance(receipt, dict):
        try:
            return not _wrong(receipt)
        except StorageError:
            return receipt.get("status") == "0x1"
    return node.known_anywhere(place.tx_hash)


def submitted(dataset: Dataset, tx_hash: str) -> Place:
    """The wallet has sent it: a worker goes on. Raises Problem."""
    tx_hash = tx_hash.lower()
    if not tuning.is_hash(tx_hash):
        raise Problem("invalid_request", "`tx_hash` must be 0x and 64 hex digits.")
    place = place_of(dataset)
    if place is None:
        raise Problem("unknown", _("Nothing was to be sent for this dataset."), status=409)
    # A declined one too: a wallet may report a refusal and send after all.
    free = [PlaceState.ASKING, PlaceState.FAILED]
    if place.state == PlaceState.WAITING and place.tx_hash != tx_hash:
        # A hash that the chain does not know holds the place for nobody else's.
        free += [] if _may_still_count(place) else [PlaceState.WAITING]
    _begin(place, free, tx_hash)
    return place


def rejected(dataset: Dataset, *, declined: bool, handed: bool = True) -> None:
    """The person declined, or the wallet gave an error, or it was not `handed` to it. What became
    of an earlier request is as unsure as before."""
    rows = dataset.places.filter(way=Way.STORAGE, state=PlaceState.ASKING)
    if handed and not declined:
        rows.update(state=PlaceState.FAILED, error=intents.NO_HASH, unsure=True)
        return
    why = intents.DECLINED if declined else N_("It was not handed over.")
    rows.filter(unsure=True).update(state=PlaceState.FAILED, error=intents.EARLIER)
    rows.update(state=PlaceState.FAILED, error=why, nonce_floor=None)


def go_on(dataset: Dataset) -> Place | None:
    """Hand over what storage knows of already; None where it must be announced first, or its bytes
    are missing. Raises Problem."""
    info = known(dataset)
    if info is None or not (dataset.file or info.complete):
        return None
    place, _created = Place.objects.get_or_create(
        dataset=dataset, way=Way.STORAGE, provider="", defaults={"state": PlaceState.FAILED}
    )
    _begin(place, (PlaceState.ASKING, PlaceState.FAILED), place.tx_hash)
    return place


def _begin(place: Place, before: Sequence[PlaceState], tx_hash: str) -> None:
    Place.objects.filter(pk=place.pk, state__in=before, tx_hash=place.tx_hash).update(
        state=PlaceState.WAITING,
        tx_hash=tx_hash,
        tx_at=timezone.now(),
        unknown_looks=0,
        nonce_floor=None,
        unsure=False,
        error="",
        updated_at=timezone.now(),
    )
    place.refresh_from_db()


# --- a worker -------------------------------------------------------------------------------------


def send(place: Place) -> None:
    """Hand over a claimed place's dataset as far as it goes now; what came of it is in the row."""
    dataset = place.dataset
    try:
        info = async_to_sync(_info)(dataset.root)
        if info is None:
            _not_announced(place)
            return
        if not info.complete and not _hand_over(place, dataset, info):
            _later(place, "")
            return
    except StorageSilent as error:
        _later(place, str(error))
        return
    except (StorageRefused, Unreadable) as error:
        _end(place, PlaceState.FAILED, str(error))
        return
    _end(place, PlaceState.THERE, "", sent=dataset.size)


def _not_announced(place: Place) -> None:
    """Storage has not heard of it: because it is too early, or because the transaction that was
    told announces nothing. A silent node or storage proves neither."""
    if not place.tx_hash:
        _later(place, "")
        return
    try:
        receipt = node.call("eth_getTransactionReceipt", place.tx_hash)
        unknown = not isinstance(receipt, dict) and not node.known_anywhere(place.tx_hash)
        # A contract wallet's has another hash, and comes when its other owners have signed.
        unknown = unknown and not node.has_code(place.dataset.user.address)
        wrong = _wrong(receipt) if isinstance(receipt, dict) else ""
    except (NodeError, StorageError):
        unknown, wrong = False, ""
    looks = place.unknown_looks + 1 if unknown else 0
    Place.objects.filter(pk=place.pk).update(unknown_looks=looks)
    if looks >= UNKNOWN_LOOKS:
        wrong = N_(
            "The chain does not know this transaction. Should it come into a block after all, this "
            "goes on by itself."
        )
    if wrong:
        _end(place, PlaceState.FAILED, wrong)
    else:
        _later(place, "")


def given_up(place: Place) -> bool:
    """Whether its place was freed because no node knew the transaction that was told."""
    return place.state == PlaceState.FAILED and place.unknown_looks >= UNKNOWN_LOOKS


def claim_late(now: dt.datetime, most: int) -> list[Place]:
    """Places to be looked at again by `look_again`, each once in `LATE`."""
    rows = Place.objects.filter(way=Way.STORAGE, state=PlaceState.FAILED, tx_at__gt=now - GIVE_UP)
    rows = rows.filter(unknown_looks__gte=UNKNOWN_LOOKS, updated_at__lt=now - LATE)
    found = list(rows.order_by("updated_at")[:most])
    return [place for place in found if rows.filter(pk=place.pk).update(updated_at=now)]


def look_again(place: Place) -> None:
    """Take a given-up place up again where its transaction, or what took its place, has come."""
    try:
        receipt = node.call("eth_getTransactionReceipt", place.tx_hash)
        come = isinstance(receipt, dict) or node.known_anywhere(place.tx_hash)
        come = come or async_to_sync(_info)(place.dataset.root) is not None
    except (NodeError, StorageError):
        return
    if come:
        rows = Place.objects.filter(pk=place.pk, state=PlaceState.FAILED, tx_hash=place.tx_hash)
        rows.update(state=PlaceState.WAITING, error="", unknown_looks=0, updated_at=timezone.now())


def _wrong(receipt: dict[str, Any]) -> str:
    """Why a transaction in a block announces nothing; "" where it may. Raises StorageError."""
    if receipt.get("status") != "0x1":
        return N_("The contract refused the announcement; only gas was paid.")
    flow = async_to_sync(_flow)().lower()
    logs = receipt.get("logs")
    # Whoever it was sent to (a wallet may be a contract): the storage contract itself must speak.
    spoke = isinstance(logs, list) and any(
        str(entry.get("address")).lower() == flow for entry in logs if isinstance(entry, dict)
    )
    return "" if spoke else N_("This transaction is another one: it announces nothing.")


def _hand_over(place: Place, dataset: Dataset, info: Info) -> bool:
    """Every segment that is missing; whether storage says that it has all. Raises StorageError."""
    if info.segments >= storage.segment_count(dataset.size):
        return False  # it has all, and is not done with them
    if dataset.file is None:
        raise StorageRefused(N_("Its bytes were deleted here before all were handed over."))
    tree = storage.hash_file(files.read(dataset.file))
    if "0x" + tree.root.hex() != dataset.root:
        raise StorageRefused(N_("Its bytes are not what they were when they were checked."))
    return bool(async_to_sync(_put_all)(place, dataset.file, tree, info.segments))


async def _put_all(place: Place, file: StoredFile, tree: FileTree, first: int) -> bool:
    root = "0x" + tree.root.hex()
    async with gateway.connected() as connection:
        # Segments count up, but they may have come in another order: the rest first, then all.
        for start in dict.fromkeys((first, 0)):
            pieces = _segments(file, start)
            for index in range(start, storage.segment_count(tree.size)):
                data = await database_sync_to_async(next)(pieces, b"")
                await connection.put(root, index, data, tree.proof(index))
                await database_sync_to_async(_sent)(place, index * SEGMENT_BYTES + len(data))
            info = await connection.info(root)
            if info is not None and info.complete:
                return True
    return False


def _segments(file: StoredFile, first: int) -> Iterator[bytes]:
    """Its bytes from segment `first` on, a segment at a time."""
    held = bytearray()
    for part in files.read(file, first * SEGMENT_BYTES):
        held += part
        while len(held) >= SEGMENT_BYTES:
            yield bytes(held[:SEGMENT_BYTES])
            del held[:SEGMENT_BYTES]
    if held:
        yield bytes(held)


def _sent(place: Place, sent: int) -> None:
    Place.objects.filter(pk=place.pk).update(sent=sent, updated_at=timezone.now())


def _later(place: Place, why: str) -> None:
    if place.tx_at is None or timezone.now() - place.tx_at > GIVE_UP:
        why = why or N_("0G storage has not heard of the announcement within an hour.")
        _end(place, PlaceState.FAILED, why)
    else:
        _end(place, PlaceState.WAITING, why)


def _end(place: Place, state: PlaceState, why: str, **more: int) -> None:
    rows = Place.objects.filter(pk=place.pk)
    if state == PlaceState.FAILED:  # of this transaction: another may have been told since
        rows = rows.filter(tx_hash=place.tx_hash)
    rows.update(state=state, error=why[:400], updated_at=timezone.now(), **more)
