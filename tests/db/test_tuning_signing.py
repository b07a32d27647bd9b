"""What is signed for a fine-tuning: at which price, in which tab, and where its answer was lost;
with whom, by what moderators said of them, and where tasks are found."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.http import QueryDict
from django.utils import timezone
from eth_abi.abi import encode

from accounts import money
from accounts.models import User
from chain.models import RawLog, RawTransaction
from devnet import accounts as cast
from finetune import files, follow, results, selectors, views, wizard
from finetune.errors import BrokerRefused
from finetune.models import Draft, Task
from ledger import selectors as ledger
from ledger.models import Service, SubAccount
from moderation.models import Effect
from moderation.subjects import Subject
from protocol import abi, events, tuning
from protocol.digests import address_of_key, personal_digest, sign
from tests import factories
from tests.db.test_keys_lasting import signed_in
from tests.db.test_tuning_results import paid, sealed_by
from tests.db.test_tuning_states import HASH, JSON, _Logging, made
from tests.db.test_tuning_states import alice as alice
from tests.db.test_tuning_states import answering as answering
from tests.db.test_tuning_states import chain as chain

pytestmark = pytest.mark.django_db


def test_a_task_is_created_at_the_price_that_was_shown(alice: User) -> None:
    listed = factories.service(
        kind="fine-tuning", serving=factories.FINE_TUNING, url="http://[::1]:1"
    )
    factories.sub_account(user=alice.address, serving=factories.FINE_TUNING)
    draft = wizard.begin(alice)
    draft.provider, draft.serving, draft.model = listed.provider, listed.serving, "m"
    draft.dataset_hash = HASH
    draft.save()
    here, client = f"/fine-tuning/new/{draft.pk}/task", signed_in(cast.user(1))
    asked = client.post(f"{here}/prepare", "{}", content_type=JSON).json()
    price = f"{money.exact(listed.price_per_token * 10**6)} 0G per 1M tokens and epoch"
    assert {"name": "Price (not signed)", "value": price} in asked["fields"]
    # Two tabs sign the same; what was signed before an edit is told from a stranger's signature.
    assert client.post(f"{here}/prepare", "{}", content_type=JSON).json() == asked
    wizard.configure(Draft.objects.get())
    anew = client.post(f"{here}/prepare", "{}", content_type=JSON).json()
    assert anew["nonce"] != asked["nonce"]
    for nonce, code in ((asked["nonce"], "draft_changed"), (anew["nonce"], "wrong_signature")):
        given = json.dumps({"signature": "0x" + "11" * 65, "nonce": nonce})
        assert client.post(here, given, content_type=JSON).json()["code"] == code
    # What comes after the largest number there is?
    SubAccount.objects.update(nonce=2**256 - 1)
    spent = client.post(f"{here}/prepare", "{}", content_type=JSON)
    assert spent.status_code == 400 and spent.json()["code"] == "nonce_spent"
    Service.objects.update(price_per_token=listed.price_per_token + 1)
    refused = client.post(here, json.dumps({"signature": "0x00"}), content_type=JSON)
    assert refused.status_code == 400 and refused.json()["code"] == "price_changed"


class _Refusing(_Logging):
    """A provider that takes no task, and does not say which ones it has."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400)
        self.end_headers()
        self.wfile.write(b'{"error": "insufficient balance"}')


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_told_though_nobody_says_which_tasks_there_are(
    alice: User, answering: Any
) -> None:
    server, url = answering(_Refusing)
    server.told = None
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, url=url)
    listing = ledger.service("fine-tuning", factories.PETRA)
    assert listing is not None
    draft = Draft(user=alice, model="Qwen3-32B", parameters="{}")
    with pytest.raises(BrokerRefused, match="insufficient balance"):
        async_to_sync(wizard._hand_in)(draft, alice.address, listing, 1, HASH, "0x00")
    no = wizard.refusal(BrokerRefused(409, "a new task while there is an unfinished task"))
    assert no.code == "unfinished_task" and "Find my tasks" in no.fix
    no = wizard.refusal(BrokerRefused(409, "previous deliverable not acknowledged: 1"))
    assert "Acknowledge that result first" in no.fix


class _Taking(_Refusing):
    """A provider that takes one task of a person."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        taken = self.server.told is None  # type: ignore[attr-defined]
        answer = {"id": str(uuid4())} if taken else {"error": "while there is an unfinished task"}
        if taken:
            said = [{**answer, "nonce": body["nonce"], "progress": tuning.INIT}]
            self.server.told = json.dumps(said).encode()  # type: ignore[attr-defined]
        self.send_response(201 if taken else 409)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("again", ["signed", "looked for"])
def test_a_task_whose_answer_died_with_the_site_is_found(
    alice: User, answering: Any, again: str
) -> None:
    server, url = answering(_Taking)
    server.told = None
    listed = factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, url=url)
    factories.sub_account(user=alice.address, serving=factories.FINE_TUNING)
    draft = Draft.objects.create(
        user=alice, provider=listed.provider, serving=listed.serving, model="Qwen3-32B",
        dataset_hash=HASH, parameters=wizard.default_parameters(),
        service_name="fine-tuning-v1.0",
    )  # fmt: skip
    here, client = f"/fine-tuning/new/{draft.pk}/task", signed_in(cast.user(1))

    def signed() -> dict[str, str]:
        asked = client.post(f"{here}/prepare", "{}", content_type=JSON).json()
        digest = personal_digest(bytes.fromhex(asked["digest"][2:]))
        return {
            "signature": "0x" + sign(digest, bytes(cast.user(1).key)).hex(),
            "nonce": asked["nonce"],
        }

    first = signed()
    listing = wizard.listing_of(draft)
    assert listing is not None
    # The provider says yes, and nobody writes that down.
    given = (int(first["nonce"]), HASH, first["signature"])
    async_to_sync(wizard._hand_in)(draft, alice.address, listing, *given)
    assert not Task.objects.exists()
    if again == "signed":
        made = client.post(here, json.dumps(signed()), content_type=JSON)
        assert made.status_code == 201, made.content
    else:
        wizard.begin(alice)
        client.post("/fine-tuning/adopt", {"provider": listed.provider})
        Draft.objects.get(provider="").delete()
    task = Task.objects.get()
    assert str(task.nonce) == first["nonce"] and str(task.remote_id) in server.told.decode()
    assert not Draft.objects.exists()
    # Signed in another tab as well, where the page of the draft is still open.
    for door in (here, f"{here}/prepare"):
        late = client.post(door, json.dumps(first), content_type=JSON)
        assert late.status_code == 404 and "became a task" in late.json()["title"]
    back = client.get(f"/fine-tuning/new/{draft.pk}/sign")  # with the browser's button
    assert back.status_code == 404 and "became a task" in back.content.decode()


# --- a provider about whom moderators said something ----------------------------------------------


def test_what_moderators_say_of_a_provider_stands_where_it_is_chosen_and_signed(
    alice: User,
) -> None:
    listed = factories.service(
        kind="fine-tuning", serving=factories.FINE_TUNING, model="", model_list=["m"]
    )
    client = signed_in(cast.user(1))
    draft = Draft.objects.create(
        user=alice, provider=listed.provider, serving=listed.serving, model="m",
        dataset_hash=HASH, parameters=wizard.default_parameters(),
    )  # fmt: skip
    about = Subject.service(listed.serving, listed.provider)
    values: dict[str, Any] = {
        "subject_kind": about.kind, "subject": about.key, "serving": listed.serving,
        "provider": listed.provider, "at": timezone.now(), "actor": "m",
    }  # fmt: skip
    Effect.objects.create(kind="flagged", number=1, public_text="It moved.", **values)
    for path in ("/fine-tuning/new", "/fine-tuning", f"/fine-tuning/new/{draft.pk}/config"):
        assert "It moved." in client.get(path).content.decode(), path
    # Hidden since the draft was begun: nothing more is offered, and whoever signs reads why.
    Effect.objects.create(kind="hidden", number=2, public_text="Shows others' data.", **values)
    assert b"It moved." not in client.get("/fine-tuning").content
    for step in ("model", "dataset", "config", "price", "sign"):
        page = client.get(f"/fine-tuning/new/{draft.pk}/{step}").content.decode()
        assert 'data-testid="hidden-notice"' in page, step


def test_tasks_are_found_at_a_provider_that_the_list_leaves_out(
    alice: User, answering: Any
) -> None:
    """Hidden, then gone from the chain: whoever has an account there may have tasks there."""
    server, url = answering(_Logging)
    server.told = b"[]"
    kind = {"kind": "fine-tuning", "serving": factories.FINE_TUNING, "url": url}
    listed = factories.service(**kind)
    factories.service(factories.BOB, **kind)  # without an account of hers
    factories.sub_account(serving=listed.serving)
    client = signed_in(cast.user(1))

    def doors() -> tuple[bool, list[str]]:
        listing, _, elsewhere = (
            client.get("/fine-tuning").content.decode().partition('id="elsewhere"')
        )
        return f'value="{listed.provider}"' in listing, re.findall(r'value="(0x\w{40})"', elsewhere)

    assert doors() == (True, [])
    about = Subject.service(listed.serving, listed.provider)
    Effect.objects.create(
        kind="hidden", number=1, subject_kind=about.kind, subject=about.key,
        serving=listed.serving, provider=listed.provider, at=timezone.now(), actor="m",
    )  # fmt: skip
    Service.objects.filter(provider=factories.BOB).update(removed=True)
    assert doors() == (False, [listed.provider])
    # One that moderators hid goes on offering it on the network.
    assert b"Nobody offers" not in client.get("/fine-tuning").content
    Effect.objects.all().delete()
    Service.objects.update(removed=True)
    assert doors() == (False, [listed.provider])
    adopt = {"provider": listed.provider}
    assert client.post("/fine-tuning/adopt", adopt)["Location"] == "/fine-tuning?found=0"
    server.told = b"no list"
    assert client.post("/fine-tuning/adopt", adopt)["Location"] == "/fine-tuning?found=no"
    assert client.post("/fine-tuning/adopt", {"provider": factories.ALICE}).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_what_a_provider_invents_for_somebody_is_bounded(
    alice: User, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks and logs cost a hostile provider nothing, and us room."""
    server, url = answering(_Logging)
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, url=url)
    listing = ledger.service("fine-tuning", factories.PETRA)
    assert listing is not None
    monkeypatch.setattr(follow, "MOST_TASKS", 2)
    told = [{"id": str(uuid4()), "progress": tuning.TRAINING, "nonce": str(n)} for n in (7, 8, 9)]
    server.told = json.dumps(told[1:]).encode()
    assert follow.adopt(alice, listing) == 2
    # What is known already is found all the same, and ends its draft.
    draft = wizard.begin(alice)
    Draft.objects.update(provider=listing.provider, pending={"nonce": "9"})
    server.told = json.dumps(told).encode()
    assert follow.adopt(alice, listing) == 0 and alice.tuning_tasks.count() == 2
    assert not Draft.objects.filter(pk=draft.pk).exists()
    monkeypatch.setattr(follow, "MOST_OF_ONE", 12)
    for task, said in zip(alice.tuning_tasks.order_by("nonce"), told[1:], strict=True):
        server.told, server.log = json.dumps(said).encode(), b"twelve bytes"
        follow.look(task)
    assert [len(selectors.log_text(task)) for task in alice.tuning_tasks.order_by("nonce")] == [
        12,
        0,
    ]
    assert "take all the room" in alice.tuning_tasks.get(nonce=9).error
    # None of which keeps out what another provider has.
    another_one = factories.address("another")
    factories.service(
        kind="fine-tuning", serving=factories.FINE_TUNING, provider=another_one, url=url
    )
    another = ledger.service("fine-tuning", another_one)
    server.told = json.dumps(told[:1]).encode()
    assert another is not None and follow.adopt(alice, another) == 1
    task, server.told = alice.tuning_tasks.get(nonce=7), json.dumps(told[0]).encode()
    follow.look(task)
    assert selectors.log_text(task) == "twelve bytes"


def test_links_lead_to_the_listing_of_the_contract_that_is_meant(alice: User) -> None:
    """The testnet has two fine-tuning contracts, and an address alone means the recommended one."""
    older = factories.contract(
        kind="fine-tuning", address=factories.address("older"), service_name="fine-tuning-v0.9",
        version="v0.9", recommended=False,
    )  # fmt: skip
    for serving in (older.address, factories.FINE_TUNING):
        factories.service(kind="fine-tuning", serving=serving)
    task = made(alice, serving=older.address, service_name=older.service_name, named=False)
    draft = wizard.begin(alice)
    wizard.choose_model(draft, factories.PETRA, older.service_name, "m")
    wizard.choose_dataset(draft, None, HASH)
    client, service = signed_in(cast.user(1)), f"/services/fine-tuning/{factories.PETRA}"
    named = f"?service_name={older.service_name}"
    for path, href in (
        (f"/fine-tuning/tasks/{task.pk}", f"{service}{named}"),
        ("/fine-tuning", f"{service}{named}"),
        (f"/fine-tuning/new/{draft.pk}/model", f"{service}{named}"),
        (f"/fine-tuning/new/{draft.pk}/sign", f"{service}/verification{named}"),
    ):
        assert f'href="{href}"' in client.get(path).content.decode(), path
    # And what is asked of the provider is asked of that listing, and begun there.
    model = "Qwen3-32B"
    wizard.choose_model(draft, factories.PETRA, older.service_name, model)
    begun = client.get(f"{service}/use{named}").content.decode()
    assert begun.count(f"--provider {factories.PETRA} --fine-tuning-ca {older.address}") >= 6
    (tuned,) = re.findall(rf'href="(/fine-tuning/new[^"]*model={model}[^"]*)"', begun)
    for path, name in (
        (f"/fine-tuning/new/{draft.pk}/model", older.service_name),
        (tuned.replace("&amp;", "&"), older.service_name),
        (f"/fine-tuning/new?provider={factories.PETRA}&model={model}", "fine-tuning-v1.0"),
    ):
        page = client.get(path).content.decode()
        checked = re.findall(r'value="([^"]*)" checked', page)
        assert checked == [f"{factories.PETRA}|{name}|{model}"], path
    offered = client.get("/fine-tuning").content.decode()
    for name in (older.service_name, "fine-tuning-v1.0"):
        assert f'name="service_name" value="{name}"' in offered
        given = QueryDict(f"provider={factories.PETRA}&service_name={name}")
        assert getattr(views._listing(given), "service_name", "") == name


# --- the key to a result -------------------------------------------------------------------------


def handed(task: Task, sealed: str, *, block: int) -> None:
    """The transaction of a settlement, with the key."""
    given = {
        "id": str(task.remote_id), "encryptedSecret": bytes.fromhex(sealed[2:]),
        "modelRootHash": b"root", "nonce": 7, "signature": bytes(65), "taskFee": 1,
        "user": task.user.address,
    }  # fmt: skip
    RawTransaction.objects.create(
        hash=factories.tx_hash(block), block_hash=factories.tx_hash(f"block {block}"),
        block_number=block, index=0, sender=task.provider, to=task.serving, value=0, status=1,
        input=abi.encode_call(abi.FINE_TUNING_SERVING, "settleFees", given),
    )  # fmt: skip


def test_a_key_that_the_contract_has_forgotten_is_named_as_it_was_handed_over(alice: User) -> None:
    """It goes with a closed account, whose owner may not have decrypted yet."""
    task = made(alice, progress=tuning.FINISHED, tee_signer=factories.BOB)
    other = made(alice, provider=factories.BOB)
    client, where = signed_in(cast.user(1)), f"/fine-tuning/decrypt?task={task.pk}"

    def told() -> str:
        return client.get(where).content.decode()

    paid(other, 5, block=4_100_001)
    handed(other, "0x01", block=4_100_001)
    SubAccount.objects.all().delete()
    assert "--rpc" in told(), "which nobody was handed"
    paid(task, 5, block=4_100_002)
    assert "--rpc" in told(), "which a wallet with code settled for its provider"
    handed(task, "0x0203", block=4_100_002)
    assert f"--signer {factories.BOB} --secret 0x0203" in told() and "--rpc" not in told()
    assert 'data-testid="key-from-settlement"' in told()
    # Nor is it to be acknowledged, or said to be paid then.
    page = client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert f"decrypt?task={task.pk}" in page and 'data-fetch="provider"' in page
    done = page.partition("Acknowledge on the chain.</strong>")[2].partition("</li>")[0]
    assert "Done." in done and "after the file was checked" not in done
    factories.sub_account(
        user=alice.address, provider=task.provider, serving=task.serving,
        deliverables=[{"id": str(task.remote_id), "model_root_hash": HASH, "acknowledged": True,
                       "settled": True, "timestamp": 1}],
    )  # fmt: skip
    assert "--rpc" in told() and "--secret" not in told()


def test_a_result_that_the_contract_has_forgotten_is_checked_by_its_announcement(
    alice: User,
) -> None:
    key = b"\x08" * 32
    raw = sealed_by(key)
    task = made(alice, named=False, progress=tuning.FINISHED, tee_signer=address_of_key(key))
    file = files.create(alice, len(raw))
    files.put(file, 0, raw)
    root = bytes.fromhex(files.hashes(file).root[2:])
    announced(made(alice, provider=factories.BOB), b"another", block=4_100_001)
    for settle, state in ((False, "failed"), (True, "here")):
        if settle:
            announced(task, root, block=4_100_000)
            paid(task, 5, block=4_100_002)
        results.judge(task, file)
        task.refresh_from_db()
        assert task.result_state == state
    assert results.recorded(task) is not None and results.deliverable_of(task) is None


def announced(task: Task, root: bytes, *, block: int) -> None:
    shape = next(one for one in events.SHAPES if one.name == "DeliverableAdded")
    types = [one.type for one in shape.arguments if not one.indexed]
    who = ("0x" + one[2:].lower().zfill(64) for one in (task.user.address, task.provider))
    RawLog.objects.create(
        block_hash=factories.tx_hash(f"block {block}"), block_number=block, log_index=1, tx_index=0,
        tx_hash=factories.tx_hash(f"tx {block}"), address=task.serving, topics=[shape.topic, *who],
        data="0x" + encode(types, (str(task.remote_id), root, 1)).hex(),
    )  # fmt: skip


def test_an_account_that_holds_less_than_the_fee_keeps_the_key_from_being_released(
    alice: User,
) -> None:
    """The contract settles all of it or nothing; what is retrieved may have been enough before."""
    task = made(alice, fee=3 * factories.ONE)
    page = f"/fine-tuning/tasks/{task.pk}"
    for change, form in (
        ({"balance": 3 * factories.ONE, "pending_refund": 3 * factories.ONE}, ""),
        # A transfer takes back first what is being retrieved.
        ({"balance": 2 * factories.ONE, "pending_refund": factories.ONE // 2}, "amount=1.5&amp;"),
    ):
        for taken in (False, True):
            results = SubAccount.objects.get().deliverables
            results = [{**one, "acknowledged": taken} for one in results]
            SubAccount.objects.update(**change, deliverables=results)
            told = signed_in(cast.user(1)).get(page).content.decode()
            said = told.partition('data-testid="fee-lacks"')[2].partition("</span></li>")[0]
            # Nobody is asked to pay for what a provider says before they have taken the result.
            assert bool(said) is bool(form) and ("href" in said) is (taken and bool(form)), change
            assert not said or ("the provider counted, " in said and (form in said) is taken)
            assert ("usually within minutes" in told) is not bool(form)
