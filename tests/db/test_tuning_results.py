"""Results of fine-tuning that come packed, slowly, damaged, or before the chain names them,
and what is said beside them."""

from __future__ import annotations

import gzip
import io
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from eth_abi.abi import encode

from accounts.errors import Problem
from accounts.models import Intent, State, User
from accounts.pages_transaction import transaction as shown_as
from chain.models import RawLog
from devnet import accounts as cast
from finetune import files, problems, results, stages, wizard
from finetune.models import Dataset, DatasetState, Draft, Piece, Task
from ledger.models import Service, ServiceChange, SubAccount
from protocol import events, model_file, tuning
from protocol.digests import address_of_key, sign
from tests import factories
from tests.db.test_keys_lasting import signed_in
from tests.db.test_tuning_states import HASH, made, settle
from tests.db.test_tuning_states import alice as alice
from tests.db.test_tuning_states import answering as answering
from tests.db.test_tuning_states import chain as chain

pytestmark = pytest.mark.django_db


def test_what_will_stop_a_result_is_said_before_anything_is_signed(alice: User) -> None:
    older, client = made(alice), signed_in(cast.user(1))
    listed = factories.service(kind="fine-tuning", serving=factories.FINE_TUNING)
    draft = Draft.objects.create(
        user=alice, provider=listed.provider, serving=listed.serving, model="m",
        dataset_hash=HASH, parameters=wizard.default_parameters(),
        service_name="fine-tuning-v1.0",
    )  # fmt: skip
    (result,) = SubAccount.objects.get().deliverables
    for change, way in (
        ({}, f'href="/fine-tuning/tasks/{older.pk}"'),
        ({"settled": True}, 'href="/account?action=delete_ledger"'),
        ({"settled": True, "acknowledged": True}, ""),
        ({"id": "None"}, 'action="/fine-tuning/adopt"'),  # providers choose their names
    ):
        SubAccount.objects.update(deliverables=[{**result, **change}])
        for step in ("price", "sign"):
            page = client.get(f"/fine-tuning/new/{draft.pk}/{step}").content.decode()
            said = page.partition('data-testid="blocked-by"')[2].partition("<section")[0]
            assert bool(said) is bool(way) and way in said, (change, step)
        # Where it is chosen, too, before there is a draft.
        page = client.get("/fine-tuning/new").content.decode()
        said = page.partition('data-testid="offer-blocked"')[2].partition("</p>")[0]
        assert bool(said) is bool(way) and (way in said or "adopt" in way), change


def test_what_blocks_a_result_has_a_way_out(alice: User, settings: Any) -> None:
    older = made(alice)
    task = made(alice, progress=tuning.DELIVERING, named=False)
    client = signed_in(cast.user(1))

    def banner() -> str:
        text = client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
        return text.partition('data-testid="blocked-by"')[2].partition("<section")[0]

    assert (
        f'href="/fine-tuning/tasks/{older.pk}"' in banner() and "Acknowledge it there" in banner()
    )
    # The list says until when, and of which data.
    held = Dataset.objects.create(user=alice, name="wine", size=1, state=DatasetState.GOOD)
    Task.objects.filter(pk=older.pk).update(dataset=held)
    row = client.get("/fine-tuning").content.decode().partition(f"/tasks/{older.pk}")[2]
    assert "wine" in row and "data-countdown" in row.partition("</tr>")[0]
    # By the chain's word: a provider that says nothing more would be paid for the silence.
    Task.objects.filter(pk=older.pk).update(progress=tuning.TRAINING)
    row = client.get("/fine-tuning").content.decode().partition(f"/tasks/{older.pk}")[2]
    assert "data-countdown" in row.partition("</tr>")[0]
    page = client.get(f"/fine-tuning/tasks/{older.pk}").content.decode()
    assert "account/alerts?kind=deadline" in page and 'data-testid="result-fetch"' in page
    # Counted to what brokers come with, not to the longest that one may give: that may be too late.
    # Where the page stands open past them, what is left is not nothing.
    assert "none of the usual 6 hours: acknowledge at once" in row.partition("</tr>")[0]
    (result,) = SubAccount.objects.get().deliverables
    assert f'data-unix="{result["timestamp"] + 21_600}"' in page and "up to 6 h more" in page
    result["timestamp"] -= 30_000
    SubAccount.objects.update(deliverables=[result])
    page = client.get(f"/fine-tuning/tasks/{older.pk}").content.decode()
    assert f'data-unix="{result["timestamp"] + 43_200}"' in page and "Acknowledge at once" in page
    assert "Acknowledge at once" in client.get("/fine-tuning").content.decode()
    # What acknowledges another result is no transaction of this page.
    params = {"provider": factories.BOB, "deliverable_id": "another"}
    begun = Intent.objects.create(
        user=alice, chain_id=31337, action="acknowledge_deliverable", params=params,
        to=factories.FINE_TUNING, state=State.PRECHECKED,
    )  # fmt: skip
    for named, shown in (
        (params, False),
        ({**params, "deliverable_id": str(older.remote_id)}, False),
        ({"provider": older.provider, "deliverable_id": str(older.remote_id)}, True),
    ):
        Intent.objects.update(params=named)
        page = client.get(f"/fine-tuning/tasks/{older.pk}").content.decode()
        assert (str(begun.pk) in page) is shown, named
    # One that was not carried out is reviewed anew, where its retry leads.
    Intent.objects.update(state=State.REVERTED, updated_at=timezone.now())
    assert shown_as(Intent.objects.get()).retry_path == "/fine-tuning#tasks"
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:1",)  # which is silent
    page = client.get(f"/fine-tuning/tasks/{older.pk}").content.decode()
    assert f'href="/fine-tuning/tasks/{older.pk}">Check again<' in page
    assert str(begun.pk) not in page
    older.refresh_from_db()
    with pytest.raises(Problem, match="too old"):
        results.ask(older, "0x00", 1)
    with pytest.raises(Problem, match="no result yet"):
        results.ask(made(alice, named=False, progress=tuning.TRAINING), "0x00", 1)
    settle(True)
    assert "action=delete_ledger" in banner()
    # The page of the lost one says what follows, too, and offers nothing to fetch.
    page = client.get(f"/fine-tuning/tasks/{older.pk}").content.decode()
    assert 'data-testid="pair-shut"' in page and "There is nothing to fetch" in page
    assert (
        'data-testid="pair-shut"'
        not in client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    )
    # Made with another program: its page comes by asking the provider.
    settle(False)
    older.delete()
    assert 'action="/fine-tuning/adopt"' in banner() and task.provider in banner()


# --- a result that is sent packed -----------------------------------------------------------------


class _Packing(BaseHTTPRequestHandler):
    """A provider (or what stands before it) that packs what was asked for as it is."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.compress(b"x" * 3_000_000)
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.django_db(transaction=True)
def test_a_packed_result_is_refused_by_that_name(alice: User, answering: Any) -> None:
    task = made(alice, url=answering(_Packing)[1])
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert task.result_state == results.State.FAILED
    assert "sends the file compressed" in task.result_error
    assert not Piece.objects.exists()


def test_files_of_slow_strangers_leave_workers_to_others(alice: User) -> None:
    held = Dataset.objects.create(user=alice, name="d", size=1, state=DatasetState.GOOD)
    for _ in range(results.MOST_WITH_ONE):
        results.require_room(factories.address("slow"))
        made(alice, named=False, result_state="fetching", provider=factories.address("slow"))
    with pytest.raises(Problem, match="under way"):
        results.require_room(factories.address("slow"))
    for n in range(results.MOST_AT_ONCE - results.MOST_WITH_ONE):
        results.require_room(factories.PETRA)
        held.places.create(way="tee", provider=factories.address(n), state="waiting", url="u")
    with pytest.raises(Problem, match="under way"):
        results._begin(made(alice, named=False))


# --- a result that came, and cannot be judged -----------------------------------------------------


def sealed_by(key: bytes) -> bytes:
    """An encrypted result."""
    sealed = io.BytesIO()
    model_file.encrypt(io.BytesIO(b"zip"), sealed, key=key, sign=lambda d: sign(d, key))
    return sealed.getvalue()


@pytest.mark.django_db(transaction=True)
def test_without_the_chains_word_there_is_no_verdict(alice: User) -> None:
    """Who is told "do not acknowledge" loses the model and pays a part."""
    key = b"\x08" * 32
    raw = sealed_by(key)
    task = made(alice, named=False, tee_signer=address_of_key(key), result_state="fetching")
    file = files.create(alice, len(raw))
    Task.objects.filter(pk=task.pk).update(result_part=file)
    files.put(file, 0, raw)
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert (task.result_state, task.result) == (results.State.FAILED, None)
    assert task.result_error == "The chain names no result yet."
    # It is kept: as soon as the chain says more, nothing has to be fetched again.
    root = files.hashes(file).root
    named = {"id": str(task.remote_id), "model_root_hash": root, "acknowledged": False}
    factories.sub_account(
        user=alice.address,
        provider=task.provider,
        serving=task.serving,
        deliverables=[{**named, "settled": False, "timestamp": 1}],
    )
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert (task.result_state, task.result) == (results.State.HERE, file)


def test_a_key_that_was_changed_on_the_way_makes_no_result_wrong(alice: User) -> None:
    """The contract settles by the key of then; who declines pays the penalty and has no model."""
    key, raw = b"\x08" * 32, sealed_by(b"\x08" * 32)
    file = files.create(alice, len(raw))
    files.put(file, 0, raw)
    hashes = files.hashes(file)
    task = made(alice, tee_signer=factories.BOB, signature="0x00", service_name="")
    held, client = SubAccount.objects.get(), signed_in(cast.user(1))
    held.deliverables = [{**held.deliverables[0], "model_root_hash": hashes.root}]
    held.save()

    def judged() -> str:
        Task.objects.update(result=None)
        task.refresh_from_db()
        with CaptureQueriesContext(connection) as queries:
            results.judge(task, file)
        # A worker that is killed leaves the file with its verdict, or neither.
        assert sum('UPDATE "finetune_task"' in one["sql"] for one in queries) == 1
        task.refresh_from_db()
        return shown()

    def shown() -> str:
        return client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()

    # Of a key that the chain never named, and not before the task: no word for it.
    named = {"tee_signer": address_of_key(key)}
    change = factories.change(
        task.provider, serving=task.serving, change="signer", before=named, after={}
    )
    factories.service(task.provider, kind="fine-tuning", tee_signer=factories.address("older key"))
    page = judged()
    assert task.result_state == "wrong" and "has not named for this provider" in page
    assert "Not with this file" in page and "Best after the file was checked" not in page
    assert "do not acknowledge" in page and 'data-testid="task-report"' in page
    # Named since: by its history, or now; whether it is accepted decides about settling.
    ServiceChange.objects.filter(pk=change.pk).update(at=timezone.now())
    page = judged()
    assert task.result_state == "here" and "sealed by another key" in page
    assert "hash and seal verified" not in page and "yet another key by now" in page
    assert "It is paid in full then, and" in page
    Task.objects.update(fee=123 * 10**14)
    agreed = re.sub("<[^>]*>", "", shown().partition("It is paid in full then, ")[2])
    assert agreed.startswith("0.0123 0G, and the key is released"), "what one agrees to"
    ServiceChange.objects.all().delete()
    Service.objects.update(tee_signer=address_of_key(key), tee_signer_acknowledged=False)
    page = judged()
    assert "sealed by another key" in page and "key of now, of which was verified" in page
    assert 'data-testid="unsettleable"' in page and 'data-testid="result-download"' in page
    Service.objects.update(tee_signer_acknowledged=True)
    assert 'data-testid="unsettleable"' not in shown()
    told = client.get(f"/fine-tuning/decrypt?task={task.pk}").content.decode()
    assert f"--signer {address_of_key(key)}" in told
    # Announced once more, after blocks were taken back: what was checked is not what it is.
    held.deliverables = [{**held.deliverables[0], "model_root_hash": HASH}]
    held.save()
    page = shown()
    assert "names another file now" in page and 'data-testid="result-fetch"' in page
    assert 'data-testid="result-download"' not in page and "sealed by another key" not in page
    results._begin(task)
    # Taken back and not announced again: what a provider says of it is its word.
    Task.objects.update(result_state="here", progress=tuning.FINISHED)
    held.deliverables = []
    held.save()
    assert "the chain names no result of this task now" in shown()
    assert "sealed for your wallet" not in shown()
    Task.objects.update(progress=tuning.USER_ACKNOWLEDGED)
    assert "provider settles and releases" not in shown()


@pytest.mark.django_db(transaction=True)
def test_what_nothing_opens_any_more_is_fetched_anew(alice: User, answering: Any) -> None:
    task = made(alice, url=answering(_Packing)[1], result_state="fetching")
    file = files.create(alice, 3)
    files.put(file, 0, b"abc")
    Task.objects.filter(pk=task.pk).update(result_part=file)
    Piece.objects.update(sealed=b"x" * 40)
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert task.result_state == results.State.FAILED and "altered" in task.result_error
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert "sends the file compressed" in task.result_error


def test_what_was_checked_stays_whatever_is_asked_or_lost_later(alice: User, settings: Any) -> None:
    """A second tab, another device: a provider that is gone by then must not take it away."""
    raw = b"checked" * 10
    file = files.create(alice, len(raw))
    files.put(file, 0, raw)
    task = made(alice, result=file, result_state="here")
    settings.STORAGE_INDEXER_URL = "http://127.0.0.1:1"
    with pytest.raises(Problem, match="here already"):
        results.ask_storage(task)
    client, path = signed_in(cast.user(1)), f"/fine-tuning/tasks/{task.pk}"
    assert b"".join(client.get(f"{path}/result")) == raw
    # The key of its bytes is lost: that is said, and it can be fetched anew.
    Piece.objects.update(sealed=b"x" * 40)
    assert client.get(f"{path}/result", follow=True).redirect_chain[0][0].startswith(path)
    page = client.get(path).content.decode()
    assert "cannot be read here any more" in page and 'data-testid="result-fetch"' in page
    results.ask_storage(task)


class _Large(BaseHTTPRequestHandler):
    """A provider of a result that is as long as `server.size`."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.size))  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.django_db(transaction=True)
def test_a_result_for_which_there_is_no_room_says_the_way_out(alice: User, answering: Any) -> None:
    server, url = answering(_Large)
    server.size = files.MAX_BYTES + 1
    task = made(alice, url=url)
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert "101 MB" in task.result_error and "acknowledge-model" in task.result_error
    with translation.override("de"):
        assert "Dieses Ergebnis hat 101 MB" in problems.told(task.result_error)
    # Those of before fill what one person may keep: each can be deleted.
    older = [
        made(alice, named=False, result=files.create(alice, files.MAX_BYTES), result_state="here")
        for _ in range(files.QUOTA_BYTES // files.MAX_BYTES)
    ]
    server.size = files.MAX_BYTES
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert "Delete one that you do not need" in task.result_error
    client, path = signed_in(cast.user(1)), f"/fine-tuning/tasks/{older[0].pk}"
    asked = client.get(path).content.decode().partition('data-testid="result-delete"')[2]
    assert "for good" in asked.partition("</details>")[0]
    Task.objects.filter(pk=older[1].pk).update(result_state="fetching")
    for one in older[:2]:
        client.post(f"/fine-tuning/tasks/{one.pk}/result/delete")
    kept = [Task.objects.get(pk=one.pk).result is not None for one in older]
    assert kept == [False, True, True, True]
    assert 'data-testid="result-fetch"' in client.get(path).content.decode()
    results.fetch(task, "0x00", 1)
    task.refresh_from_db()
    assert "the connection ended" in task.result_error


# --- how it was paid for, by the contract's own log ----------------------------------------------


def paid(task: Task, fee: int, *, block: int = 4_100_000) -> None:
    """A settlement of this task's result as the follower writes it down."""
    fields = (str(task.remote_id), fee, True, 7)
    _settled(task, "FeesSettled", fields, "acknowledged", block)


def _settled(task: Task, name: str, fields: tuple[Any, ...], status: str, block: int) -> None:
    shape = next(one for one in events.SHAPES if one.name == name)
    types = [one.type for one in shape.arguments if not one.indexed]
    row = factories.settlement(
        provider=task.provider, user=task.user.address, serving=task.serving, block=block,
        status=status, settled=fields[1] if name == "FeesSettled" else 0,
        tx_hash=(tx_hash := factories.tx_hash(block)), log_index=3,
    )  # fmt: skip
    topics = [shape.topic, *("0x" + one[2:].lower().zfill(64) for one in (row.user, row.provider))]
    RawLog.objects.create(
        block_hash=factories.tx_hash(f"block {block}"), block_number=block, tx_hash=tx_hash,
        log_index=3, tx_index=0, address=task.serving,
        topics=topics, data="0x" + encode(types, fields).hex(),
    )  # fmt: skip


def test_a_charge_is_shown_whatever_its_provider_said_and_by_its_own_settlement(
    alice: User,
) -> None:
    task = made(alice, fee=10**15, progress=tuning.FINISHED)
    client = signed_in(cast.user(1))

    def shown() -> str:
        return client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()

    # Finished by its provider's word alone: an acknowledged result whose key is not there yet.
    held = SubAccount.objects.get()
    held.deliverables = [{**one, "acknowledged": True} for one in held.deliverables]
    held.save()
    assert "the chain does not say so yet" in shown() and "sealed for your wallet" not in shown()
    # Acknowledged with another program, of which its provider has not heard yet.
    Task.objects.update(progress=tuning.DELIVERED)
    assert "Acknowledge it in time" not in shown() and "settles and releases" in shown()
    # A provider that agreed to cancel and goes on.
    assert 'data-testid="cancelled-goes-on"' not in shown()
    Task.objects.update(cancelled_at=timezone.now())
    assert 'data-testid="cancelled-goes-on"' in shown()
    Task.objects.update(progress=tuning.FINISHED)
    assert 'data-testid="cancelled-goes-on"' not in shown()
    # Another task's settlement in between is none of this one's; more than was told is said.
    settle(True)
    other = Task(user=alice, provider=task.provider, serving=task.serving, remote_id=uuid4())
    paid(other, 5, block=4_100_001)
    paid(task, 7 * 10**15, block=4_100_002)
    assert f'data-testid="task-charged" data-neuron="{7 * 10**15}"' in shown()
    assert "more than it counted" in shown() and "sealed for your wallet" in shown()
    assert factories.tx_hash(4_100_002) in shown() and factories.tx_hash(4_100_001) not in shown()
    # A provider that went away before it told of the end: the key is on the chain all the same.
    Task.objects.update(progress=tuning.USER_ACKNOWLEDGED, fee=7 * 10**15)
    assert "sealed for your wallet" in shown() and f"/decrypt?task={task.pk}" in shown()
    assert "more than it counted" not in shown()
    Task.objects.update(progress=tuning.FAILED)
    assert "was charged" in shown() and "Nothing was charged." not in shown()


def test_a_result_that_its_provider_gave_up_has_no_key(alice: User) -> None:
    """The contract sets both marks of it, as of one that was paid for."""
    task = made(alice, fee=10**15, progress=tuning.FINISHED)
    held = SubAccount.objects.get()
    held.deliverables = [
        {**one, "acknowledged": True, "settled": True} for one in held.deliverables
    ]
    held.save()
    _settled(task, "DeliverableAbandoned", (str(task.remote_id), 1), "abandoned", 4_100_003)
    page = signed_in(cast.user(1)).get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert "gave this result up" in page and "nobody can open the file" in page
    assert "sealed for your wallet" not in page and 'data-testid="result-fetch"' not in page
    # Whatever its provider says; nor where the account is gone, and with it the chain's marks.
    for ended_as, stage in (("abandoned", tuning.FINISHED), ("penalty", tuning.USER_ACKNOWLEDGED)):
        states = {step.label: step.state for step in stages.steps(task, None, ended_as)}
        assert states[stage] == "failed", ended_as
