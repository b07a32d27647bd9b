"""What a visitor types leads to what is meant, in a constant number of queries."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from ledger.models import Ledger
from marketplace import limits, links, search
from moderation.models import Effect
from operators.models import Profile
from tests import factories
from tests.db import report_world
from tests.db.plans import plans
from tests.db.test_words_playground import task
from tests.factories import ALICE, BOB, PETRA

pytestmark = pytest.mark.django_db
HASH = factories.tx_hash("change " + PETRA)


def paths(q: str) -> list[str]:
    return [target.path for group in search.find(q).groups for target in group.targets]


def test_a_number_leads_to_its_page(client: Client) -> None:
    factories.market(1)
    factories.service(PETRA)
    factories.service(factories.address("gone"), removed=True)
    run = report_world.development()
    held = str(uuid.uuid4())
    factories.sub_account(BOB, PETRA, deliverables=[{"id": held}])
    for q, path in (
        (PETRA, f"/providers/{PETRA}"),
        (f"  {PETRA.lower()}\x00 ", f"/providers/{PETRA}"),
        (factories.address("gone"), f"/providers/{factories.address('gone')}"),
        (ALICE, f"/accounts/{ALICE}"),
        (HASH.upper().replace("0X", "0x"), f"/tx/{HASH}"),
        (str(run.pk).upper(), f"/verifications/{run.pk}"),
        (held, f"/providers/{PETRA}"),
        (f"a/model@{PETRA}", f"/providers/{PETRA}"),
    ):
        assert client.get("/search", {"q": q})["Location"] == path
        assert path in client.get("/palette", {"q": q}).content.decode()
    mistyped = PETRA.replace("A", "a", 1)
    assert "mistyped" in client.get("/search", {"q": mistyped}).content.decode()
    assert "has this number" in client.get("/search", {"q": str(uuid.uuid4())}).content.decode()


def test_a_part_of_an_address_leads_to_whose_it_can_be(client: Client) -> None:
    """As pages shorten it, which is what people copy; never straight on, because another address
    can be made to look alike."""
    signer, held = factories.address("signer"), factories.address("held")
    factories.market(1)
    factories.service(PETRA, tee_signer=signer)
    Ledger.objects.create(user=held, block=1)
    service = f"/services/inference/{PETRA}"
    for address, path in (
        (PETRA, f"/providers/{PETRA}"), (signer, service), (held, f"/accounts/{held}")
    ):  # fmt: skip
        first, last = address[:6], address[-4:]
        for q in (f"{first}…{last}", f"{first.lower()}...{last.upper()}", address[:12]):
            assert paths(q) == [path], q
            assert path in client.get("/search", {"q": q}).content.decode()
    # Whoever signs answers is known by the listing; a listing can name anybody, so one chooses.
    assert paths(signer) == [service, f"/accounts/{signer}"]
    text = client.get("/search", {"q": signer}).content.decode()
    assert "Named as signer by" in text and f"Chat, {PETRA[:6]}…{PETRA[-4:]}" in text
    # Whoever names it too, in many listings, moves away nobody whom the contract's owner agreed to.
    for number in range(6):
        other = {"tee_signer": signer, "tee_signer_acknowledged": False, "created_block": 1}
        factories.service(f"0x{number:040}", model="evil", **other)
    [named, _account] = search.find(signer).groups
    assert (named.targets[0].path, named.count) == (service, 7)
    # Nor do their words stand there once moderators hid them.
    for number in range(6):
        about: dict[str, Any] = {
            "subject_kind": "provider",
            "subject": f"0x{number:040}",
            "actor": "m",
        }
        about |= {"provider": about["subject"], "kind": "hidden", "at": timezone.now()}
        Effect.objects.create(number=number, **about)
    assert paths(signer) == [service, f"/accounts/{signer}"]
    assert client.get(f"/api/v1/services?q={PETRA[:6]}…{PETRA[-4:]}").json()["count"] == 1
    assert "Nothing here is called" in client.get("/search?q=0x0…0x").content.decode()
    # However many accounts there are, it reads those that begin so.
    many = (Ledger(user=factories.address(str(number)), block=1) for number in range(2_000))
    Ledger.objects.bulk_create(many)
    with CaptureQueriesContext(connection) as asked:
        paths(f"{held[:6]}…{held[-4:]}")
    (sql,) = (one["sql"] for one in asked if "ledger_ledger" in one["sql"])
    [plan] = plans([sql], "ledger_ledger")
    assert "Index Cond" in plan and "ledger_by_user" in plan, plan
    for number in range(6):
        factories.service(f"0xABCDEF{number:034X}")
    assert "/providers?q=0xabcdef%E2%80%A6" in client.get("/search?q=0xabcdef").content.decode()


def test_a_task_of_this_site_is_found_by_its_owner_alone(client: Client) -> None:
    """Its number is on the chain: whoever typed in all of them would learn who uses this site."""
    factories.service(PETRA)
    owner = User.objects.for_address(ALICE)
    made = task(owner)
    number, path = str(made.remote_id), f"/fine-tuning/tasks/{made.pk}"
    factories.sub_account(ALICE, PETRA, deliverables=[{"id": number}])
    other = Client()
    other.force_login(User.objects.for_address(BOB))
    for stranger in (client, other):
        assert stranger.get("/search", {"q": number})["Location"] == f"/providers/{PETRA}"
        assert path not in stranger.get("/palette", {"q": number}).content.decode()
        nothing = stranger.get("/search", {"q": str(made.pk)})
        assert "has this number" in nothing.content.decode()
    client.force_login(owner)
    for q in (number, str(made.pk)):
        assert client.get("/search", {"q": q})["Location"] == path


def test_a_transactions_page_asks_the_node_only_so_often(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Anybody may open it, and the node's own limit is everybody's."""
    factories.head()
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)
    monkeypatch.setattr(limits, "TRANSACTION", limits.Limit("test-tx", per_minute=1, burst=2))
    answers = [client.get(f"/tx/{HASH}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 429]
    assert int(answers[-1]["Retry-After"]) > 0


def test_providers_are_found_by_what_they_call_themselves(client: Client) -> None:
    factories.market(12)
    provider = factories.address(1)
    profile = Profile.objects.create(
        provider=provider,
        name="Glacier <i>Compute</i>",
        nonce="n",
        message="m",
        signature="0x",
        signed_at=timezone.now(),
    )
    found = paths("glacier compute")
    assert found[0] == f"/providers/{provider}" and f"/services/inference/{provider}" in found
    assert "self-declared name of 0x" in client.get("/search?q=glacier").content.decode()
    # In the list beside words of the listing itself, in its twins, and in its rows.
    for query, count in (("glacier", 1), ("GLACIER+deepseek", 1), ("glacier+qwen-2.5", 0)):
        assert client.get(f"/api/v1/services?q={query}").json()["count"] == count, query
    text = client.get("/").content.decode()
    # Not in a title alone, which neither fingers nor most screen readers reach.
    shown = (
        '“<bdi>Glacier &lt;i&gt;Compute&lt;/i&gt;</bdi>”</span> <span class="sub">self-declared<'
    )
    assert text.count(shown) == 1
    unchecked = ">, Signed by the provider’s wallet; nobody checked it</span>"
    every = client.get("/providers").content.decode()
    assert unchecked in text and unchecked in every
    assert re.search(r">, \d+ acknowledged by the contract’s owner</span></td>", every)
    assert "glacier" in client.get("/?q=glacier").content.decode()
    profile.withdrawn_at = timezone.now()
    profile.save()
    assert paths("glacier") == [] and "Glacier" not in client.get("/").content.decode()


def test_pages_of_operators_and_staff_are_for_them(client: Client) -> None:
    factories.market(1)
    assert "/operator" in paths("earnings") and "/account/data" in paths("privacy")
    assert "/playground/requests" in paths("requests") and "/ops" not in paths("operations")
    user = User.objects.for_address(factories.address(0))
    roles.give(user, Role.ADMIN)
    client.force_login(user)
    assert 'href="/ops"' in client.get("/palette?q=operations").content.decode()
    menu = client.get("/docs").content.decode()
    assert 'href="/operator">Operator</a>' in menu and 'href="/account/data">Your data</a>' in menu
    client.force_login(User.objects.for_address(ALICE))
    assert 'href="/operator">Operator</a>' not in client.get("/docs").content.decode()


def test_words_find_models_services_pages_and_chapters(client: Client) -> None:
    factories.market(12)
    factories.service(PETRA, model="<b>evil</b> qwen")
    assert "/models/qwen%2Fqwen-2.5-7b-instruct" in paths("QWEN 7b")
    assert f"/services/inference/{PETRA}" in paths("evil")
    assert paths("withdraw money")[0] == "/account" and "/fine-tuning" in paths("finetune")
    assert "/fine-tuning" in paths("fine-tune") and "/playground/audio" in paths("speech to text")
    assert "/docs/how-money-moves" in paths("money moves")
    documents = search.find("refund").groups[-1]
    assert documents.more == "/docs?q=refund" and documents.count > len(documents.targets) == 5
    chapters = [path for path in paths("fresh verdict limits caching") if "#" in path]
    assert chapters == [] and "/docs/api#limits-and-caching" in paths("limits caching")
    text = client.get("/search?q=evil").content.decode()
    assert "<b>evil" not in text and "&lt;b&gt;evil" in text
    assert 'href="/?q=qwen"' in client.get("/search?q=qwen").content.decode()
    assert "Nothing here is called" in client.get("/palette?q=zzzzzz").content.decode()
    for q in (
        "",
        "%00",
        "x" * 3_000,
        "' OR 1=1--",
        "0x",
        "//evil.example",
        "%F0%9F%92%A9",
        "100%_\\",
    ):
        assert client.get(f"/search?q={q}").status_code == 200
    # Each place that search can name exists.
    for q in ("", *(label for label, _, _ in search.PAGES)):
        for path in paths(q):
            assert links.exists(path.partition("#")[0].partition("?")[0]), path

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/palette?q=a+b+qwen")
        return len(captured)

    few = cost()
    for number in range(80):
        factories.service(factories.address(f"more {number}"), model=f"qwen a b {number}")
    assert cost() <= few + 2 and few <= 11  # a model was found: its types are read
