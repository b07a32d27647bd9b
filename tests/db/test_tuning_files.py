"""Large files in sealed pieces: what comes out is what went in, for its owner alone."""

from __future__ import annotations

import hashlib
import html
import json
import random
import re
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from django.core.cache import cache
from django.utils import timezone
from eth_utils.crypto import keccak

from accounts import crypto, limits, money
from accounts.crypto import Unreadable
from accounts.errors import Problem
from accounts.models import User
from attestation import leases
from attestation.models import Verification
from devnet import accounts as cast
from finetune import (
    drafts,
    files,
    follow,
    pricing,
    results,
    selectors,
    services,
    views,
    views_doors,
    wizard,
)
from finetune.broker import Said
from finetune.models import Dataset, Draft, Piece, Place, PlaceState, Task, Way
from net.cache import keep
from protocol import tuning
from protocol.storage import hash_file
from tests import factories
from tests.db import report_world
from tests.db.test_keys_lasting import signed_in
from tests.db.test_tuning_states import made
from tests.factories import ALICE

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    cache.clear()
    return User.objects.for_address(ALICE)


def stored(user: User, raw: bytes) -> Any:
    file = files.create(user, len(raw))
    for number in files.missing(file):
        files.put(file, number, raw[number * files.PIECE_BYTES :][: files.PIECE_BYTES])
    return file


def test_bytes_hashes_and_seeks(alice: User) -> None:
    raw = random.Random(3).randbytes(2 * files.PIECE_BYTES + 12_345)
    file = stored(alice, raw)
    assert b"".join(files.read(file)) == raw
    assert b"".join(files.read(file, 1_500_000)) == raw[1_500_000:]
    hashes = files.hashes(file)
    assert hashes.root == "0x" + hash_file([raw]).root.hex()
    assert hashes.keccak == "0x" + keccak(raw).hex()
    source, rng = files.Source(file), random.Random(4)
    for _ in range(40):
        at, length = rng.randrange(len(raw)), rng.randrange(1, 3_000)
        source.seek(at)
        assert source.read(length) == raw[at : at + length]
    assert not any(raw[:64] in bytes(piece.sealed) for piece in Piece.objects.all())


def test_pieces_cannot_be_swapped_altered_or_missing(alice: User) -> None:
    file = stored(alice, bytes(files.PIECE_BYTES) + b"x" * files.PIECE_BYTES)
    first, second = Piece.objects.filter(file=file).order_by("number")
    kept = bytes(first.sealed)
    Piece.objects.filter(pk=first.pk).update(sealed=bytes(second.sealed))
    with pytest.raises(Unreadable):
        list(files.read(file))
    Piece.objects.filter(pk=first.pk).update(sealed=kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(Unreadable):
        list(files.read(file))
    first.delete()
    with pytest.raises(Unreadable):
        list(files.read(file))


def test_wrong_pieces_sizes_and_quotas_are_refused(alice: User) -> None:
    file = files.create(alice, files.PIECE_BYTES + 10)
    for number, data in ((0, b"short"), (1, b"x" * 11), (2, b"x"), (-1, b"x")):
        with pytest.raises(Problem):
            files.put(file, number, data)
    for size in (0, files.MAX_BYTES + 1):
        with pytest.raises(Problem):
            files.create(alice, size)
    for _ in range(files.QUOTA_BYTES // files.MAX_BYTES - 1):
        files.create(alice, files.MAX_BYTES)
    with pytest.raises(Problem, match="take"):
        files.create(alice, files.MAX_BYTES)


def test_lines_of_any_cut_and_keys_turned_over(alice: User, settings: Any) -> None:
    rows = [b"a" * n + b"\n" for n in (1, 5_000, files.PIECE_BYTES - 10, 3, 2_000_000)] + [b"end"]
    file = stored(alice, b"".join(rows))
    assert list(files.lines(file, 3_000_000)) == rows
    cut = list(files.lines(file, 100))
    assert [len(line) for line in cut] == [2, 101, 101, 4, 101, 3]
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_KEYS]
    assert crypto.rotate() == (1, 0)
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    file.refresh_from_db()
    assert hashlib.sha256(b"".join(files.read(file))).digest()


def test_doors_belong_to_their_owner_and_go_on_where_they_were_cut(alice: User) -> None:
    mine, other = signed_in(cast.user(1)), signed_in(cast.user(2))
    raw = b"".join(json.dumps({"text": f"row {n}"}).encode() + b"\n" for n in range(20))
    body = {"name": "<script>\0.jsonl", "size": len(raw)}
    made = mine.post("/fine-tuning/datasets", body, content_type="application/json").json()
    here = f"/fine-tuning/datasets/{made['id']}"
    assert other.get(here).status_code == 404
    kind = "application/octet-stream"
    assert other.put(f"{here}/pieces/0", raw, kind).status_code == 404
    # Who brings much under many names has filled nobody's quota, but the disk.
    used = {"limit": views_doors.PIECES_A_DAY, "seconds": 24 * 3600}
    limits.spend("pieces-from", "203.0.113.5", uses=views_doors.PIECES_A_DAY, **used)
    for address in ("203.0.113.5", "::ffff:203.0.113.5"):
        much = mine.put(f"{here}/pieces/0", raw, kind, REMOTE_ADDR=address)
        assert much.status_code == 429 and int(much["Retry-After"]) > 60
    early = mine.post(f"{here}/finish", {}, content_type="application/json")
    assert early.status_code == 409 and mine.get(here).json()["missing"] == [0]
    assert mine.put(f"{here}/pieces/0", raw, kind).status_code == 200
    mine.post(f"{here}/finish", {}, content_type="application/json")
    dataset = Dataset.objects.get()
    services.check(dataset)
    page = mine.get("/fine-tuning").content.decode()
    assert "&lt;script&gt;.jsonl" in page and "20 rows" in page
    # Deleted it is gone for good, so that is asked before.
    asked = page.partition('data-testid="dataset-drop"')[2].partition("</details>")[0]
    assert f'action="{here}/delete"' in asked and "for good" in asked
    preview = Dataset.objects.get().preview_sealed
    assert "row 0" not in preview and services.preview(Dataset.objects.get())[0][1] == "row 0"
    assert other.post(f"{here}/delete").status_code == 404
    draft = Draft.objects.create(user=alice, provider=ALICE, model="m", dataset=dataset)
    # One click may be two: what is published stays known by its root until that is forgotten.
    # What the wallet was asked to announce, too: who brings the file again must not pay for both.
    there = Place.objects.create(dataset=dataset, way=Way.STORAGE, state=PlaceState.ASKING)
    for _ in range(2):
        assert mine.post(f"{here}/delete")["Location"] == "/fine-tuning#datasets"
    assert Dataset.objects.get().file is None and not Piece.objects.exists()
    Place.objects.update(state=PlaceState.WAITING)
    assert "It goes on if you leave" not in mine.get(f"{here}/publish").content.decode()
    assert wizard.missing_step(Draft.objects.get()) == "dataset"
    for state, said in ((PlaceState.ASKING, "may pay twice"), (PlaceState.THERE, "keeps the file")):
        Place.objects.update(state=state)
        page = mine.get("/fine-tuning").content.decode()
        asked = page.partition('data-testid="dataset-drop"')[2]
        assert 'name="forget"' in asked and said in asked
        assert ("only in 0G storage" in page) is (state == PlaceState.THERE)
        assert len(selectors.dataset_views(alice)) == (state == PlaceState.THERE)
        # A task is made with what a provider can find, in a form of yesterday too.
        took = mine.post(f"/fine-tuning/new/{draft.pk}/dataset", {"dataset": made["id"]})
        assert took.status_code == (302 if state == PlaceState.THERE else 400)
    there.delete()
    for _ in range(2):
        assert mine.post(f"{here}/delete", {"forget": "1"})["Location"] == "/fine-tuning#datasets"
    assert not Dataset.objects.exists()


def test_what_a_worker_is_at_is_not_lost_however_slow_it_is(alice: User) -> None:
    """A provider hashes what came before it answers; and who dribbles keeps its place."""
    held = Dataset.objects.create(user=alice, name="d", size=7, state="good")
    of: dict[str, Any] = {"way": "tee", "state": "sending", "url": "u"}
    places = [held.places.create(provider=at, **of) for at in (ALICE, factories.PETRA)]
    tasks = [made(alice, named=False, result_state="fetching") for _ in places]
    assert leases.take(f"place:{places[0].pk}") and leases.take(f"result:{tasks[0].pk}")
    later = timezone.now() + timedelta(hours=1)
    services.give_up_lost(later)
    results.give_up_lost(later)
    for row in (*places, *tasks):
        row.refresh_from_db()
    assert [row.state for row in places] == ["sending", "failed"]
    assert [row.result_state for row in tasks] == ["fetching", "failed"]


def test_a_draft_is_saved_step_by_step_and_typed_text_is_kept(alice: User, settings: Any) -> None:
    mine, other = signed_in(cast.user(1)), signed_in(cast.user(2))
    factories.head()
    factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, model_list=["m", "n"])
    # Looking makes none, however often: a browser fetches what may be opened next.
    shown = mine.get(f"/fine-tuning/new?provider={factories.PETRA}&model=m").content.decode()
    assert not Draft.objects.exists() and "/fine-tuning/new/" not in shown
    assert re.findall(r'value="[^"]*\|(\w+)" checked', shown) == ["m"]
    strange = mine.get(f"/fine-tuning/new?provider={factories.PETRA}&model=free+money")
    assert "free money" not in strange.content.decode()
    refused = mine.post("/fine-tuning/new", {"choice": "nobody||m"})
    assert refused.status_code == 400 and not Draft.objects.exists()
    odd = mine.post("/fine-tuning/new", {"choice": f"{factories.PETRA}|\0x|m\0"})
    assert odd.status_code == 400 and not Draft.objects.exists()
    path = mine.post("/fine-tuning/new", {"choice": f"{factories.PETRA}||m"})["Location"]
    base = path.rsplit("/", 1)[0]
    assert path == f"{base}/dataset" and other.get(path).status_code == 404
    Draft.objects.update(provider="", model="")
    path = f"{base}/model"
    assert mine.get(f"{base}/sign")["Location"] == path  # nothing can be skipped
    assert mine.get(f"{base}/nothing").status_code == 404
    draft = Draft.objects.get()
    raw = b'{"text": "a row"}\n' * 10
    dataset = Dataset.objects.create(
        user=alice, name="rows", size=len(raw), state="good", tokens=50,
        file=stored(alice, raw),
    )  # fmt: skip
    # What was uploaded here stands chosen; what was there before or came for another does not.
    Draft.objects.update(provider=factories.PETRA, model="m")
    chosen = r'name="dataset" value="([^"]+)" checked'
    Draft.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    for asked, expected in (
        ("", []),
        (f"?dataset={dataset.pk}", [str(dataset.pk)]),
        (f"?dataset={draft.pk}", []),
        ("?dataset=\0", []),
    ):
        text = mine.get(f"{base}/dataset{asked}").content.decode()
        assert re.findall(chosen, text) == expected, asked
    # What was refused is still there.
    no_root = mine.post(f"{base}/dataset", {"dataset": "root", "root": "0xoops"})
    assert no_root.status_code == 400 and 'value="0xoops"' in no_root.content.decode()
    assert re.findall(chosen, no_root.content.decode()) == ["root"]
    # The transfer that opens the account has its sum, the contract's least one.
    Draft.objects.update(dataset=dataset)
    waiting = mine.get("/fine-tuning").content.decode().partition('aria-labelledby="drafts"')[2]
    assert "rows" in waiting.partition("</section>")[0], "of drafts of one model, which it is"
    known = f"ledger-limits:{settings.CHAIN_ID}:{settings.LEDGER_ADDRESS}"
    keep(known, (3 * 10**18, 10**18), 60)
    way = html.unescape(mine.get(f"{base}/price").content.decode())
    assert re.search(r"/account\?action=transfer&account=[^&]+&amount=1&then=", way)
    # What is shown adds up, and what nobody publishes is not counted as nothing.
    Dataset.objects.update(tokens=123_457)
    product = "123,457 tokens × 1 epoch × 500,000,000,000 neuron = 0.0617285 0G + "
    for model, rest, lacking in (
        ("m", "storage", "0.06172 0G without storage"),
        ("Qwen2.5-0.5B-Instruct", "0.01 0G storage = 0.0717285 0G", "0.07172 0G"),
        # A listing has one price for all: of the large model the documented one is counted.
        ("Qwen3-32B", "0.09 0G storage = 0.583828 0G", "0.5838 0G"),
    ):
        Draft.objects.update(model=model)
        text = mine.get(f"{base}/price").content.decode()
        parts = re.findall(
            r'<p class="formula".*?</p>|<dd data-testid="tuning-missing".*?</dd>', text
        )
        plain = [" ".join(re.sub("<[^>]*>", "", part).split()) for part in parts]
        if model == "Qwen3-32B":
            product = "123,457 tokens × 1 epoch × 4,000,000,000,000 neuron = 0.493828 0G + "
        assert plain == [product + rest, lacking]
        assert ('data-testid="price-factor"' in text) is (model == "Qwen3-32B")
        assert "The first transfer is at least" in text
        least, most = (money.short(n) for n in sorted(pricing.DOCUMENTED_RESERVE.values()))
        assert (f"the reserve is {least} to {most} 0G" in text) is (model == "m")
    # Into an account that there is goes what is missing, where the estimate knows all of it.
    funds: dict[str, Any] = {"serving": factories.FINE_TUNING, "balance": 5 * 10**16}
    held = factories.sub_account(alice.address, **funds)
    for model, filled in (("m", ""), ("Qwen2.5-0.5B-Instruct", "&amount=0.0217285")):
        Draft.objects.update(model=model)
        page = html.unescape(mine.get(f"{base}/price").content.decode())
        assert re.search(rf"/account\?action=transfer&account=[^&]+{filled}&then=", page), model
    held.delete()
    # Rows that providers take through storage alone, by the documentation.
    for kind in ("instruction", "text"):
        Dataset.objects.update(kind=kind)
        signs = mine.get(f"{base}/sign").content.decode()
        assert ('data-testid="text-rows"' in signs) is (kind == "text")
    Draft.objects.update(provider=ALICE, model="m", dataset=None, dataset_hash="0x" + "ab" * 32)
    wrong = {**dict.fromkeys(wizard.values_of(draft.parameters), "1"), "learning_rate": "2e-4"}
    answer = mine.post(f"{base}/config", wrong)
    text = answer.content.decode()
    assert answer.status_code == 400 and 'value="2e-4"' in text and "without an exponent" in text
    # Whatever is typed into a field, the field says what is wrong with it.
    for odd_number in ("0,0002", "05", ".5", "2 ", "1, 2", 'a"b', "NaN", "٣"):
        answer = mine.post(f"{base}/config", {**wrong, "neftune_noise_alpha": odd_number})
        text = html.unescape(answer.content.decode())
        assert "valid JSON" not in text and "without an exponent" in text, odd_number
        assert ("expected a plain number" in text) is (odd_number.strip() != "2"), odd_number
    good = {**wrong, "learning_rate": "0.00002"}
    assert mine.post(f"{base}/config", good)["Location"] == f"{base}/price"
    assert '"learning_rate": 0.00002' in Draft.objects.get().parameters
    settings_page = mine.get(f"{base}/config").content.decode()
    assert "0.00002" in settings_page and "Usual: 0.0002" in settings_page
    # Written the other way, what was typed goes along, and nothing is saved by that.
    typed = {**good, "learning_rate": "9", "wait": "on"}
    turned = mine.post(f"{base}/config", {**typed, "view": "json"}).content.decode()
    text = html.unescape(turned.partition("<textarea")[2].partition(">")[2].partition("</")[0])
    assert json.loads(text)["learning_rate"] == 9 and 'name="wait" checked' in turned
    back = mine.post(f"{base}/config", {"form": "json", "text": text, "view": "fields"})
    assert 'value="9"' in back.content.decode() and "<textarea" not in back.content.decode()
    stays = mine.post(f"{base}/config", {"form": "json", "text": '{"a": 1}', "view": "fields"})
    assert "&quot;a&quot;: 1" in stays.content.decode() and stays.status_code == 400
    assert "0.00002" in mine.get(f"{base}/config").content.decode()
    as_json = mine.post(f"{base}/config", {"form": "json", "text": '{"learning_rate": 1}'})
    assert as_json.status_code == 400 and "is missing" in as_json.content.decode()
    # However long it is: nothing that was typed is cut.
    long = "7" * 5_000
    for given in ({"form": "json", "text": long}, {**good, "learning_rate": long}):
        for view in ({}, {"view": "json"}, {"view": "fields"}):
            said = mine.post(f"{base}/config", {**given, **view})
            assert long in said.content.decode(), (given, view)
            assert said.status_code == (200 if "json" in view.values() else 400)
    text = text.replace(": 9", f": 0.{'1' * 60}")
    back = mine.post(f"{base}/config", {"form": "json", "text": text, "view": "fields"})
    assert f'value="0.{"1" * 60}"' in back.content.decode()
    door = f"{base}/delete"
    assert f'action="{door}"' in mine.get("/fine-tuning").content.decode()
    assert other.post(door).status_code == 404 and Draft.objects.exists()
    # Deleted it is nowhere, and for a minute it comes back, whole, for its owner.
    gone, listed = mine.post(door)["Location"], f'action="{door}"'
    assert mine.post(door).headers.get("Location") == gone, "one click may be two"
    for path in (f"{base}/config", f"{base}/sign"):
        assert mine.get(path).status_code == 404, path
    assert mine.post(f"{base}/config", good).status_code == 404
    assert listed not in mine.get("/fine-tuning").content.decode()
    undo = f"{base}/undo"
    assert f'action="{undo}"' in mine.get(gone).content.decode()
    assert undo not in other.get(gone).content.decode() + mine.get("/fine-tuning").content.decode()
    drafts.purge()
    assert other.post(undo).status_code == 404 and Draft.objects.get().deleted_at
    for _ in range(2):
        assert mine.post(undo)["Location"] == "/fine-tuning"
    assert listed in mine.get("/fine-tuning").content.decode()
    assert "0.00002" in mine.get(f"{base}/config").content.decode()
    mine.post(door)
    Draft.objects.update(deleted_at=timezone.now() - drafts.UNDO_FOR)
    assert mine.post(undo).status_code == 404 and undo not in mine.get(gone).content.decode()
    drafts.purge()
    assert not Draft.objects.exists()


def test_a_log_is_kept_by_offset_and_begins_anew_when_its_past_changes(alice: User) -> None:
    task = Task(user=alice, remote_id=UUID(int=1), url="", price_per_token=1, nonce=1)
    task.created_at = timezone.now()
    task.save()
    whole = "one\ntwo €\0\n".encode()
    at = whole.index(b"\xe2") + 1  # in the middle of a character
    for raw, news in ((b"", False), (whole[:at], True), (whole[:at], False), (whole, True)):
        assert follow._append(task, raw) is news
    assert selectors.log_text(task) == "one\ntwo €\ufffd\n"
    # It grows: only what is new is read or written, whatever is kept already.
    task.log_parts.filter(offset=0).update(text="kept ")
    assert follow._append(task, whole + b"\xff three\n")
    assert selectors.log_text(task).startswith("kept ")
    assert selectors.log_text(task).endswith("\ufffd three\n") and not task.log_restarted
    # Kept before digests were: taken anew, without a word about it.
    task.log_sha256 = ""
    assert follow._append(task, whole) and not task.log_restarted
    assert follow._append(task, b"another\n") and task.log_restarted
    assert selectors.log_text(task) == "another\n"
    assert follow._append(task, b"") and selectors.log_text(task) == ""


def test_provenance_names_the_images_of_the_evidence_at_the_start(alice: User) -> None:
    factories.head()
    factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)
    run = report_world.unreachable()
    named = [{"ref": "trainer@sha256:" + "a" * 64}, {"ref": "<b>"}]
    for images, shown in ((named, "&lt;b&gt;"), ([], "none named")):
        Verification.objects.filter(pk=run.pk).update(facts={"images": images})
        Task.objects.all().delete()
        task = made(alice, named=False, verification=run.pk)
        text = signed_in(cast.user(1)).get(f"/fine-tuning/tasks/{task.pk}").content.decode()
        said = text.split('data-testid="task-images">')[1].split("</dd>")[0]
        assert shown in said and ("@sha256:" in said) == bool(images)


def test_what_nothing_comes_of_any_more_is_put_away_and_found_again(alice: User) -> None:
    task = made(alice, named=False, progress=tuning.TRAINING, looked_at=timezone.now())
    client, here = signed_in(cast.user(1)), f"/fine-tuning/tasks/{task.pk}"
    door, away = f"{here}/put-away", "/fine-tuning?away=1"

    def listed(path: str = "/fine-tuning") -> bool:
        return f'href="{here}"' in client.get(path).content.decode()

    def offered() -> bool:
        return 'data-testid="task-put-away"' in client.get(here).content.decode()

    client.post(door)
    assert listed() and listed(away) and not offered(), "something may come of it"
    Task.objects.update(looked_at=timezone.now() - timedelta(days=3), failures=5)
    assert offered() and signed_in(cast.user(2)).post(door).status_code == 404 and listed()
    assert client.post(door)["Location"] == here
    assert not listed() and listed(away) and not offered()
    assert "None but those that you put away" in client.get("/fine-tuning").content.decode()
    assert "That changed nothing at its provider" in client.get(here).content.decode()
    assert selectors.tasks(alice).filter(look_next=task.look_next).exists(), "we keep asking"
    client.post(door, {"back": "1"})
    assert listed() and offered()
    # A result on the chain costs its owner a penalty in time, whatever was put away.
    client.post(door)
    result = {"id": str(task.remote_id), "model_root_hash": "0x" + "ab" * 32, "acknowledged": False}
    held = factories.sub_account(
        user=alice.address, provider=task.provider, serving=task.serving,
        deliverables=[{**result, "settled": False, "timestamp": int(time.time())}],
    )  # fmt: skip
    assert listed() and not listed(away) and not offered()
    assert 'data-testid="task-away"' not in client.get(here).content.decode()
    # Acknowledged it waits for nobody, and the page says which results bring a task back.
    held.deliverables[0]["acknowledged"] = True
    held.save()
    assert not listed() and "a result on the chain that waits for you" in html.unescape(
        client.get(here).content.decode()
    )
    held.delete()
    assert not listed()
    # So does a new stage.
    task.refresh_from_db()
    said = Said(task.remote_id, tuning.TRAINED, 0, "", 0, None, None, "", "", "{}", 1)
    follow._answered(task, said, None, "", timezone.now())
    assert listed()


def test_lists_end_where_they_say_so(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draft and every task has its place, and copies are counted like other drafts."""
    monkeypatch.setattr(views, "MOST_TASKS", 2)
    now = timezone.now()
    tasks = [made(alice, named=False) for _ in range(3)]
    for at, task in enumerate(tasks):
        Task.objects.filter(pk=task.pk).update(created_at=now - timedelta(minutes=at))
    client = signed_in(cast.user(1))
    first, last = (client.get(f"/fine-tuning{q}").content.decode() for q in ("", "?page=2"))
    assert [str(task.pk) in first for task in tasks] == [True, True, False]
    assert [str(task.pk) in last for task in tasks] == [False, False, True]
    assert 'href="?page=2#tasks"' in first and 'href="?page=1#tasks"' in last
    assert 'rel="prev"' not in first and 'rel="next"' not in last
    assert client.get("/fine-tuning?page=3")["Location"].endswith("/fine-tuning")
    door = f"/fine-tuning/tasks/{tasks[0].pk}/clone"
    for n in range(7):
        copies = {client.post(door)["Location"] for _ in range(2)}
        assert len(copies) == 1  # pressed twice
        alice.tuning_drafts.filter(wait=False).update(wait=True, parameters=f'{{"seed":{n}}}')
    assert client.get("/fine-tuning").content.decode().count('/delete"') == 7
    limits.spend("tuning-drafts", alice.address, limit=60, seconds=600, uses=53)
    assert client.post(door).status_code == 429 and alice.tuning_drafts.count() == 7
