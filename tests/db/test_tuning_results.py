"""Results of fine-tuning that come packed, slowly, damaged, or before the chain names them."""

from __future__ import annotations

import gzip
import io
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from accounts.errors import Problem
from accounts.models import Intent, State, User
from devnet import accounts as cast
from finetune import files, results
from finetune.models import Dataset, DatasetState, Piece, Task
from protocol import model_file, tuning
from protocol.digests import address_of_key, sign
from tests import factories
from tests.db.test_keys_lasting import signed_in
from tests.db.test_tuning_states import alice as alice
from tests.db.test_tuning_states import answering as answering
from tests.db.test_tuning_states import chain as chain
from tests.db.test_tuning_states import made, settle

pytestmark = pytest.mark.django_db


def test_what_blocks_a_result_has_a_way_out(alice: User) -> None:
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
    older.refresh_from_db()
    with pytest.raises(Problem, match="too old"):
        results.ask(older, "0x00", 1)
    with pytest.raises(Problem, match="no result yet"):
        results.ask(made(alice, named=False, progress=tuning.TRAINING), "0x00", 1)
    settle(True)
    assert "action=delete_ledger" in banner()
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


@pytest.mark.django_db(transaction=True)
def test_without_the_chains_word_there_is_no_verdict(alice: User) -> None:
    """Who is told "do not acknowledge" loses the model and pays a part."""
    key = b"\x08" * 32
    sealed = io.BytesIO()
    model_file.encrypt(io.BytesIO(b"zip"), sealed, key=key, sign=lambda d: sign(d, key))
    raw = sealed.getvalue()
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
