"""A dataset published in 0G storage, results and uploads that were cut off, providers that are busy
and tasks that fail: through the site's own doors, against a real broker, chain and storage."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import override_settings
from django.utils import timezone

from accounts import unheard
from finetune import files, follow, offers, publishing, results, services, tasks
from finetune.models import Dataset, Place, PlaceState, Task, Way
from ledger.models import ServingContract
from protocol import tuning
from protocol.storage import SEGMENT_BYTES, hash_file
from tests.live.provider_lab import ONE
from tests.live.test_tuning_site import Browser, indexed, until
from tests.live.test_tuning_site import lab as lab
from tests.live.tuning_lab import MODEL, MODEL_HASH, STORAGE_FEE, TuningLab
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = dt.timedelta(minutes=5)


def long_rows(*behave: str) -> bytes:
    """Twelve rows that fill three segments."""
    texts = [" ".join(behave), *(f"row {n} " + "word " * 14_000 for n in range(11))]
    return "\n".join(json.dumps({"text": text}) for text in texts).encode()


def place_of(dataset: Dataset) -> Place:
    rows = Place.objects.select_related("dataset__user", "dataset__file")
    return rows.get(dataset=dataset, way=Way.STORAGE)


def step(dataset: Dataset) -> Place:
    """What a worker does when it is told of a place."""
    services.send(place_of(dataset))
    return place_of(dataset)


def pay(lab: TuningLab, person: Any, asked: dict[str, str]) -> str:
    """What a wallet does with `eth_sendTransaction`."""
    data, value = bytes.fromhex(asked["data"][2:]), int(asked["value"], 16)
    receipt = lab.contracts.chain.send(person.wallet, asked["to"], data, value=value)
    assert receipt.ok
    return receipt.tx_hash


def sent_in_silence(
    lab: TuningLab, alice: Browser, person: Any, dataset: Dataset, asked: dict[str, str], dead: str
) -> None:
    """The wallet gives an error after it has sent: it is not asked again before that is seen, for
    another dataset of the same bytes neither."""
    here, chain = f"/fine-tuning/datasets/{dataset.pk}", lab.contracts.chain
    twin = alice.upload(long_rows("ok"))
    doors = [f"/fine-tuning/datasets/{one.pk}/confirm" for one in (dataset, twin)]
    # Asked for a moment ago, for whichever of them.
    assert alice.post(doors[1], status=409)["code"] == "already_under_way"
    alice.post(f"{here}/rejected", {"declined": False, "handed": True})
    # Declining a second request says nothing of the first.
    alice.post(f"{here}/confirm")
    alice.post(f"{here}/rejected", {"declined": True})
    page = alice.client.get(f"{here}/publish").content.decode()
    assert "sent all the same" in page and "data-unsure" in page
    with override_settings(CHAIN_RPC_URLS=(dead,)):  # which says nothing of it
        assert "Nothing was sent" not in alice.client.get(f"{here}/publish").content.decode()
        refused = alice.post(f"{here}/confirm", status=503)
    assert "sent before is not affected" in refused["title"]
    # Its price was another one.
    asked = {**asked, "value": hex(int(asked["value"], 16) + 1)}
    chain.rpc.call("evm_setAutomine", False)
    chain.rpc.call("evm_setIntervalMining", 0)
    try:
        raw, tx_hash = signed(chain, person, asked, gas=60_000)
        chain.rpc.call("eth_sendRawTransaction", raw)
        for door in doors:
            assert alice.post(door, status=409)["code"] == "not_in_a_block"
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)
        chain.rpc.call("evm_setIntervalMining", 1)
    assert alice.post(doors[1], status=409)["title"] == "This transaction was sent before."
    assert alice.post(doors[0], status=409)["code"] == "already_under_way"
    assert (place_of(dataset).state, place_of(dataset).tx_hash) == (PlaceState.WAITING, tx_hash)
    assert "only gas was paid" in step(dataset).error  # of so little it could not be carried out
    twin.delete()


def signed(chain: Any, person: Any, asked: dict[str, str], *, gas: int) -> tuple[str, str]:
    """What a wallet signs, and its hash."""
    nonce = int(chain.rpc.call("eth_getTransactionCount", person.address, "latest"), 16)
    one = person.wallet.sign_transaction(
        {
            **{"to": asked["to"], "data": asked["data"], "value": int(asked["value"], 16)},
            **{"nonce": nonce, "gas": gas, "gasPrice": 10**11, "chainId": chain.chain_id},
        }
    )
    return "0x" + one.raw_transaction.hex(), "0x" + one.hash.hex()


def test_a_dataset_is_published_found_by_its_root_and_needed_here_no_more(
    lab: TuningLab, free_port: int
) -> None:
    broker = lab.broker()
    person = lab.funded(broker)
    indexed()
    alice = Browser(person)
    raw = long_rows("ok")
    dataset = alice.upload(raw)
    tree = hash_file([raw])
    root = "0x" + tree.root.hex()
    assert dataset.root == root and len(tree.segment_roots) >= 3
    here = f"/fine-tuning/datasets/{dataset.pk}"
    page = alice.client.get(f"{here}/publish").content.decode()
    assert "Everybody can read it" in page and lab.flow.address.lower() in page
    fee = tree.chunks * lab.flow.view("pricePerSector")
    # What it costs is what was reviewed, or it is reviewed anew.
    assert f'data-fee="{fee}"' in page
    other = alice.post(f"{here}/confirm", {"seen": str(fee - 1)}, 409)
    assert other["code"] == "numbers_changed" and not Place.objects.exists()
    asked = alice.post(f"{here}/confirm", {"seen": str(fee)})["transaction"]
    assert (asked["to"], int(asked["value"], 16)) == (lab.flow.address, fee)
    assert asked["data"].startswith("0xbc8c11f8")  # provider-protocol.md 7.2
    # A second tab, a declined request, one that is asked for again.
    assert alice.post(f"{here}/confirm", status=409)["code"] == "already_under_way"
    alice.post(f"{here}/rejected", {"declined": True})
    assert "You declined" in alice.client.get(f"{here}/publish").content.decode()
    alice.post(f"{here}/confirm")
    asked = alice.post(f"{here}/confirm", {"again": True})["transaction"]
    # Declining the second request says nothing of the first, which nobody answered.
    alice.post(f"{here}/rejected", {"declined": True})
    page = alice.client.get(f"{here}/publish").content.decode()
    assert "earlier request is not known" in page and 'data-poll="15"' in page
    assert "Nothing was sent" not in page
    # An open page does not ask for ever.
    Place.objects.update(updated_at=timezone.now() - unheard.SEARCHED_FOR)
    assert 'data-poll="0"' in alice.client.get(f"{here}/publish").content.decode()
    Place.objects.update(unsure=False)
    alice.post(f"{here}/confirm")
    sent_in_silence(lab, alice, person, dataset, asked, f"http://127.0.0.1:{free_port}")
    asked = alice.post(f"{here}/confirm")["transaction"]
    bad = alice.post(f"{here}/submitted", {"tx_hash": "0x12"}, 400)
    assert bad["code"] == "invalid_request"
    paid = lab.contracts.chain.balance(person.address)
    # The wallet says that it has sent it before it is in a block: the worker waits.
    alice.post(f"{here}/submitted", {"tx_hash": "0x" + "12" * 32})
    assert step(dataset).state == PlaceState.WAITING
    # A Safe's hash is its own, and its other owners take longer.
    rpc = lab.contracts.chain.rpc
    rpc.call("anvil_setCode", person.address, "0xfe")
    Place.objects.update(unknown_looks=publishing.UNKNOWN_LOOKS - 1)
    assert (step(dataset).state, place_of(dataset).unknown_looks) == (PlaceState.WAITING, 0)
    rpc.call("anvil_setCode", person.address, "0x")
    assert step(dataset).state == PlaceState.WAITING
    # One that no node ever hears of frees the place after so many looks, not after an hour.
    for _look in range(2, publishing.UNKNOWN_LOOKS):
        assert step(dataset).state == PlaceState.WAITING
    assert "does not know this transaction" in step(dataset).error
    assert place_of(dataset).state == PlaceState.FAILED
    # A real one that says nothing to storage's contract: seen at the first look.
    other = lab.contracts.chain.send(person.wallet, person.address, b"", value=0).tx_hash
    alice.post(f"{here}/submitted", {"tx_hash": other})
    assert "announces nothing" in step(dataset).error
    asked = alice.post(f"{here}/confirm")["transaction"]
    # And while a hash is waited for that means nothing, the real one takes its place.
    alice.post(f"{here}/submitted", {"tx_hash": "0x" + "13" * 32})
    paying = pay(lab, person, asked)
    alice.post(f"{here}/submitted", {"tx_hash": paying})
    assert (place_of(dataset).tx_hash, place_of(dataset).unknown_looks) == (paying, 0)
    alice.post(f"{here}/submitted", {"tx_hash": "0x" + "14" * 32})  # which nothing takes from it
    assert place_of(dataset).tx_hash == paying
    assert paid - lab.contracts.chain.balance(person.address) >= fee
    # A worker died after the first segment: the next one goes on.
    proof = tree.proof(0)
    first = {
        "root": root,
        "index": 0,
        "data": base64.b64encode(raw[:SEGMENT_BYTES]).decode(),
        "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": list(proof.path)},
    }
    assert requests.post(f"{lab.storage}/file/segment", json=first, timeout=10).ok
    Place.objects.update(state=PlaceState.SENDING, updated_at=timezone.now() - LONG_AGO)
    services.give_up_lost(timezone.now())
    done = step(dataset)
    assert (done.state, done.sent, done.error) == (PlaceState.THERE, len(raw), "")
    assert requests.get(f"{lab.storage}/file?root={root}", timeout=10).content == raw
    # Its bytes are not needed here any more; a task finds them by the root.
    alice.client.post(f"{here}/delete")
    dataset.refresh_from_db()
    assert dataset.file is None and dataset.preview_sealed == ""
    path = alice.draft(broker, dataset)
    assert b"reads it from there by its root" in alice.client.get(f"{path}/sign").content
    task = until(alice.create(path), tuning.DELIVERED, tuning.FAILED)
    assert (task.progress, task.dataset_hash) == (tuning.DELIVERED, root)
    # The same bytes of somebody else: nothing to pay, and nothing to wait for.
    bob = Browser(lab.person())
    twin = bob.upload(raw)
    there = f"/fine-tuning/datasets/{twin.pk}"
    assert b"There is nothing to pay" in bob.client.get(f"{there}/publish").content
    assert bob.post(f"{there}/confirm", status=409)["code"] == "already_announced"
    bob.client.post(f"{there}/publish")
    assert step(twin).state == PlaceState.THERE
    # And nobody touches what is another's.
    for door in ("publish", "confirm", "submitted", "rejected"):
        answer = bob.client.post(f"{here}/{door}", "{}", content_type="application/json")
        assert answer.status_code == 404
    alice.client.post(f"{here}/delete", {"forget": "1"})
    assert not Dataset.objects.filter(pk=dataset.pk).exists()


def test_an_announcement_that_no_node_knew_is_taken_up_when_it_comes_after_all(
    lab: TuningLab,
) -> None:
    person = lab.person()
    indexed()
    alice = Browser(person)
    raw = long_rows("late")
    here = f"/fine-tuning/datasets/{(dataset := alice.upload(raw)).pk}"
    asked = alice.post(f"{here}/confirm")["transaction"]
    # The wallet has signed it, and its own node keeps it to itself for minutes.
    rpc = lab.contracts.chain.rpc
    raw_transaction, tx_hash = signed(lab.contracts.chain, person, asked, gas=3_000_000)
    alice.post(f"{here}/submitted", {"tx_hash": tx_hash})
    for _look in range(publishing.UNKNOWN_LOOKS):
        step(dataset)
    assert place_of(dataset).state == PlaceState.FAILED
    assert "does not know this transaction" in alice.client.get(f"{here}/publish").content.decode()
    assert publishing.claim_late(timezone.now(), 5) == []  # it was looked at a moment ago
    later = timezone.now() + 2 * publishing.LATE
    (place,) = publishing.claim_late(later, 5)
    tasks.look_again(place.pk)
    assert place_of(dataset).state == PlaceState.FAILED
    rpc.call("eth_sendRawTransaction", raw_transaction)
    eventually(lambda: publishing.known(dataset) is not None)
    # Storage knows it: nothing on the page says that it does not.
    page = alice.client.get(f"{here}/publish").content.decode()
    assert "There is nothing to pay" in page and "does not know this transaction" not in page
    assert alice.post(f"{here}/confirm", status=409)["code"] == "already_announced"
    assert publishing.claim_late(later, 5) == []
    (place,) = publishing.claim_late(later + 2 * publishing.LATE, 5)
    tasks.look_again(place.pk)
    assert (place_of(dataset).state, place_of(dataset).unknown_looks) == (PlaceState.WAITING, 0)
    assert step(dataset).state == PlaceState.THERE
    assert publishing.claim_late(later + 4 * publishing.LATE, 5) == []


def test_a_result_that_was_cut_off_goes_on_where_it_was(lab: TuningLab) -> None:
    broker = lab.broker()
    person = lab.funded(broker)
    indexed()
    alice = Browser(person)
    dataset = alice.upload(long_rows("large"))
    path = alice.draft(broker, dataset)
    alice.send(path)
    task = until(alice.create(path), tuning.DELIVERED, tuning.FAILED)
    assert task.progress == tuning.DELIVERED
    indexed()
    here = f"/fine-tuning/tasks/{task.pk}"
    alice.post(f"{here}/fetch", {"from": "storage"})
    results.fetch(task, "", 0)
    task.refresh_from_db()
    assert task.result_state == "here" and task.result is not None
    raw = b"".join(files.read(task.result))
    assert len(raw) > 3 * files.PIECE_BYTES
    for source in ("storage", "provider"):
        # Two pieces had come when the worker was killed.
        part = files.create(alice.user, len(raw))
        for number in (0, 1):
            start = number * files.PIECE_BYTES
            files.put(part, number, raw[start : start + files.PIECE_BYTES])
        Task.objects.filter(pk=task.pk).update(
            result_state="fetching", result_part=part, result_touched=timezone.now() - LONG_AGO
        )
        signed = alice.signed(f"{here}/fetch") if source == "provider" else {}
        proof: dict[str, Any] = signed or {"from": "storage"}
        assert alice.post(f"{here}/fetch", proof, 409)["code"] == "under_way"
        results.give_up_lost(timezone.now())
        assert "It was cut off" in alice.client.get(here).content.decode()
        alice.post(f"{here}/fetch", proof)
        task = Task.objects.select_related("user", "result").get(pk=task.pk)
        results.fetch(task, signed.get("signature", ""), signed.get("timestamp", 0))
        task = Task.objects.select_related("user", "result").get(pk=task.pk)
        assert (task.result_state, task.result_error) == ("here", "")
        assert task.result is not None and task.result_part is None
        # Storage goes on where it was asked to; this broker begins anew, and that is as good.
        assert (task.result.pk == part.pk) == (source == "storage")
        assert b"".join(files.read(task.result)) == raw
    assert alice.user.stored_files.count() == 2  # dataset and result: nothing is left over
    # An older contract: the site's acknowledgement would go elsewhere, so it is not offered.
    assert "tx-confirm" in alice.client.get(here).content.decode()
    mine = ServingContract.current.get(address=task.serving)
    mine.pk, mine.address, mine.registered_block = None, "0x" + "Ab" * 20, mine.registered_block + 1
    ServingContract.objects.filter(address=task.serving).update(recommended=False)
    mine.save()
    page = alice.client.get(here).content.decode()
    assert "tx-confirm" not in page and f"--fine-tuning-ca {task.serving}" in page


def test_a_busy_provider_its_own_models_and_a_task_that_fails(
    lab: TuningLab, tmp_path: Any
) -> None:
    usage = tmp_path / "usage.zip"
    with zipfile.ZipFile(usage, "w") as archive:
        archive.writestr("README.md", "how")
    script = str(Path(__file__).with_name("scripted_executor.py"))
    model = {
        **{"name": MODEL, "hash": MODEL_HASH, "storage_fee": str(STORAGE_FEE)},
        **{"executor": [sys.executable, script]},
        **{"description": "<b>for tests</b>", "usage_file": str(usage)},
    }
    broker = lab.broker(models=[model])
    alice, bob = (Browser(lab.funded(broker)) for _ in range(2))
    indexed()
    path = alice.draft(broker, alice.upload(long_rows("wait", str(tmp_path / "go"))))
    alice.send(path)
    first = until(alice.create(path), tuning.TRAINING)
    Place.objects.all().delete()
    path = bob.draft(broker, bob.upload(long_rows("crash")))
    bob.send(path)
    # Refused without queueing; the same signature queues it, for the settings are not signed.
    proof = bob.signed(f"{path}/task")
    refused = bob.post(f"{path}/task", proof, 409)
    assert refused["code"] == "provider_busy" and "in-progress tasks" in refused["title"]
    made = bob.post(f"{path}/task", {**proof, "wait": True}, 201)
    second = Task.objects.select_related("user").get(pk=made["url"].rsplit("/", 1)[1])
    assert offers.refresh_due() == 1 and offers.refresh_due() == 0
    said = bob.client.get("/fine-tuning").content.decode()
    assert "2 waiting or running" in said and "&lt;b&gt;for tests&lt;/b&gt;" in said
    assert "task-queue" in bob.client.get(made["url"]).content.decode()
    query = f"/fine-tuning/usage?provider={broker.address}&model={MODEL}"
    taken = bob.client.get(query)
    assert taken["Content-Disposition"].startswith("attachment;")
    assert taken["X-Content-Type-Options"] == "nosniff"
    assert zipfile.ZipFile(io.BytesIO(taken.content)).namelist() == ["README.md"]
    usage.write_bytes(b"<script>alert(1)</script>")
    assert bob.client.get(query).status_code == 502
    unknown = bob.client.get(query.replace(MODEL, "unheard-of"))
    assert unknown.status_code == 409 and "The provider says:" in unknown.content.decode()
    cancel = f"/fine-tuning/tasks/{first.pk}/cancel"
    assert alice.post(cancel, alice.signed(cancel), 409)["code"] == "provider_refused"
    # The provider goes away, and comes back at another address, which its listing names.
    broker.stop()
    silent = bob.client.get(query)
    assert silent.status_code == 502 and "The provider says:" not in silent.content.decode()
    follow.look(second)
    (tmp_path / "go").touch()
    broker.start()
    indexed()
    failed = until(second, tuning.FAILED, tuning.DELIVERED, seconds=90)
    assert failed.progress == tuning.FAILED
    page = bob.client.get(made["url"]).content.decode()
    assert "Nothing was charged" in page and "out of memory" in page and "The last it said" in page
    assert lab.account(bob.person, broker)["balance"] == ONE
