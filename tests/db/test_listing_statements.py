"""Notes and profiles: signed, good once, hostile words refused, a domain that vouches or not."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from eth_account.messages import encode_defunct

from accounts import node, roles, selectors
from accounts.models import User
from accounts.roles import Role
from devnet import accounts as cast
from moderation import looking, services
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import Act, Item, ItemKind
from moderation.subjects import Subject
from operators import notes, profile, profile_domain, profile_words, tasks
from operators.models import Note, Profile
from tests import factories
from tests.db.test_keys_lasting import signed_in
from tests.db.verification_world import Query, Reply, provider

pytestmark = pytest.mark.django_db
SELLER, MALLORY = cast.provider(1), cast.user(3)
NOTES, PROFILE = "/operator/notes", "/operator/profile"


@pytest.fixture
def operator(settings: Any) -> Iterator[Client]:
    cache.clear()
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)
    factories.head()
    factories.contract()
    factories.service(SELLER.address)
    factories.service(MALLORY.address)
    yield signed_in(SELLER)


def note(**given: str) -> dict[str, str]:
    now = timezone.now()
    values = {
        "kind": "maintenance",
        "starts_at": f"{now + dt.timedelta(hours=1):%Y-%m-%dT%H:%M}",
        "ends_at": f"{now + dt.timedelta(hours=3):%Y-%m-%dT%H:%M}",
        "text": "New disks; answers will be slow.",
    }
    return {**values, **given}


def waiting(client: Client, at: str) -> str:
    """The text that the page asks the wallet to sign."""
    page = client.get(at).context["page"]
    return str(page.waiting.message)


def sign(client: Client, at: str, text: str, by: Any = SELLER) -> Any:
    signature = "0x" + bytes(by.sign_message(encode_defunct(text=text)).signature).hex()
    return client.post(f"{at}/sign", {"signature": signature}, content_type="application/json")


def test_a_note_says_what_is_signed_and_is_good_once(operator: Client) -> None:
    assert operator.post(NOTES, note()).status_code == 302
    text = waiting(operator, NOTES)
    for part in (SELLER.address, "Chain: 31337", "Kind: maintenance", "New disks", "Nonce: "):
        assert part in text
    assert sign(operator, NOTES, text, by=MALLORY).json()["code"] in (
        "invalid_signature",
        "wallet_check_unavailable",
    )
    # A refused signature uses the statement up.
    assert sign(operator, NOTES, text).json()["code"] == "nothing_to_sign"
    assert "New disks" in operator.get(NOTES).content.decode()  # what was typed is still there
    operator.post(NOTES, note())
    second = waiting(operator, NOTES)
    assert sign(operator, NOTES, text).status_code != 200  # the text of before
    operator.post(NOTES, note())
    third = waiting(operator, NOTES)
    assert len({text, second, third}) == 3
    assert sign(operator, NOTES, third).status_code == 200
    assert sign(operator, NOTES, third).json()["code"] == "nothing_to_sign"
    assert operator.get(NOTES).context["page"].form["text"].value == ""
    row = Note.objects.get()
    assert (row.provider, row.message) == (SELLER.address, third)
    at = [f"/providers/{SELLER.address}", f"/services/inference/{SELLER.address}", "/changes"]
    for path in at:
        shown = Client().get(path).content.decode()
        assert 'data-testid="provider-note"' in shown and "New disks" in shown, path
    assert "New disks" not in Client().get(f"/providers/{MALLORY.address}").content.decode()

    # Somebody else's note is not theirs to take back.
    mallory = signed_in(MALLORY)
    assert mallory.post(f"{NOTES}/{row.pk}/withdraw").status_code == 404
    for _ in range(2):  # one click may be two
        assert operator.post(f"{NOTES}/{row.pk}/withdraw")["Location"] == NOTES
    assert "New disks" not in Client().get(at[0]).content.decode()


def test_an_incident_is_ended_by_a_note_in_its_place(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = timezone.now() - dt.timedelta(hours=5)
    written = note(kind="incident", starts_at=f"{began:%Y-%m-%dT%H:%M}", ends_at="")
    for number in range(5):
        operator.post(NOTES, {**written, "text": f"GPU {number} fell out."})
        assert sign(operator, NOTES, waiting(operator, NOTES)).status_code == 200
    assert operator.post(NOTES, written).status_code == 400  # no room for a sixth
    open_, other = Note.objects.order_by("-signed_at", "pk")[:2]
    change = f"{NOTES}?instead={open_.pk}"
    assert change in operator.get(NOTES).content.decode()
    form = {name: f.value for name, f in operator.get(change).context["page"].form.items()}
    assert (
        form["text"] == open_.text and form["ends_at"] >= form["starts_at"] == written["starts_at"]
    )
    # What began longer ago than a new note may have is ended all the same.
    began -= dt.timedelta(days=40)
    Note.objects.filter(pk=open_.pk).update(starts_at=began.replace(second=0, microsecond=0))
    form["starts_at"] = f"{began:%Y-%m-%dT%H:%M}"
    assert operator.post(NOTES, form).status_code == 302
    text = waiting(operator, NOTES)
    assert f"Instead of the note signed at: {open_.signed_at:%Y-%m-%dT%H:%M:%SZ}" in text
    assert "To: not known yet" not in text
    assert sign(operator, NOTES, text).status_code == 200
    told = [(row.text, row.ends_at is None) for row in Note.objects.filter(withdrawn_at=None)]
    assert len(told) == 5 and (open_.text, False) in told and (open_.text, True) not in told
    # Nothing takes the place of what is gone, or of somebody else's.
    for client, about in ((operator, open_), (signed_in(MALLORY), other), (operator, "x")):
        gone = client.post(NOTES, {**form, "instead": getattr(about, "pk", about)})
        assert gone.status_code == 409 and "no longer shown" in gone.content.decode()
    assert operator.get(f"{NOTES}?instead=").context["page"].form["text"].value == ""
    # Nor of what another tab took back while this one was signed.
    operator.post(NOTES, {**written, "text": "Over.", "instead": other.pk})
    text, parse = waiting(operator, NOTES), notes.parse

    def late(*given: Any) -> Any:
        Note.objects.filter(pk=other.pk).update(withdrawn_at=timezone.now())
        return parse(*given)

    monkeypatch.setattr(notes, "parse", late)
    assert sign(operator, NOTES, text).json()["code"] == "note_gone"
    assert Note.objects.filter(withdrawn_at=None).count() == 4


def test_what_is_wrong_stands_at_the_field_and_nothing_is_lost(operator: Client) -> None:
    soon = f"{timezone.now() + dt.timedelta(hours=2):%Y-%m-%dT%H:%M}"
    for given, word in (
        (note(text="a\nNonce: 1"), "line breaks"),
        (note(text="safe \u202etxt"), "hide or reorder"),
        (note(text="x" * 501), "At most 500"),
        (note(ends_at=""), "planned end"),
        (note(kind="incident", starts_at=soon, ends_at=""), "has begun already"),
        (note(starts_at="yesterday"), "Write it like"),
        (note(ends_at=f"{soon}+16:00"), "Write it like"),
        (note(ends_at="2020-01-01T00:00"), "ends after"),
        (note(kind="party"), "Choose which"),
    ):
        answer = operator.post(NOTES, given)
        assert answer.status_code == 422 and word in answer.content.decode(), word
        assert answer.context["page"].form["text"].value == given["text"]
    stranger = signed_in(cast.user(2))
    assert stranger.post(NOTES, note()).status_code == 403
    assert "never offered a service" in stranger.get(PROFILE).content.decode()


@pytest.mark.parametrize(
    "name",
    [
        *("x", "a" * 41, "0G Labs", "Official GPUs", "Verified Cloud", "GPU ✓", "GPU \u2714"),
        *(
            "\u0430\u0440\u0440\u04cf\u0435",
            "p\u0430ypal",
            "ΑΒΕ",
            "ａｂｃ",
            "a\u200bb",
            "\u202eevil",
        ),
        *("Za\u0335\u0334\u0336\u0337lgo", "ǃab", "ɡoogle", "<b>x</b>", "👍 cloud", "12345"),
        *("a\nb", "a\u0000b", "аррlе"),
    ],
)
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        profile_words.name(name)


@pytest.mark.parametrize(
    "name", ["Müller & Söhne GmbH", "Żółw", "東京クラウド", "Яндекс", "강남 GPU"]
)
def test_names_people_have_are_taken(name: str) -> None:
    assert profile_words.name(name) == name


def test_a_profile_is_only_words_until_its_domain_vouches(operator: Client) -> None:
    body = json.dumps({"providers": ["0x" + "1" * 40, SELLER.address.lower()]}).encode()
    replies = [Reply(body)]

    def answer(path: str, query: Query) -> Reply:
        assert path == profile_domain.PATH
        return replies[-1]

    with provider(answer) as server:
        host = server.url.removeprefix("http://")
        typed = {
            "name": "Nordic GPUs",
            "contact": "ops@nordic.example",
            "links": "https://nordic.example/terms",
            "domain": host,
        }
        wrong = operator.post(PROFILE, {**typed, "links": "javascript:alert(1)"})
        assert wrong.status_code == 422 and "https:// address" in wrong.content.decode()
        operator.post(PROFILE, typed)
        assert sign(operator, PROFILE, waiting(operator, PROFILE)).status_code == 200
        at = f"/providers/{SELLER.address}"
        shown = Client().get(at).content.decode()
        assert "Nordic GPUs" in shown and "self-declared" in shown
        assert 'href="https://nordic.example/terms"' not in shown
        tasks.prove_domains()
        shown = Client().get(at).content.decode()
        assert "proven since" in shown and "self-declared" not in shown
        assert 'href="https://nordic.example/terms"' in shown
        since = Profile.objects.get().domain_since
        # A name that a domain vouches for is nobody else's.
        mallory = signed_in(MALLORY)
        taken = mallory.post(PROFILE, {**typed, "name": "NORDIC gpus", "domain": ""})
        assert "Another provider has this name" in taken.content.decode()
        assert tasks.prove_domains() == 0  # not again within a day
        later = timezone.now() + profile.EVERY
        row = Profile.objects.get()
        for reply, state in ((Reply(body, status=503), "proven"), (Reply(b"{}"), "lost")):
            replies.append(reply)
            assert profile_domain.prove(row, later) == state
        shown = Client().get(at).content.decode()
        assert "was proven, no longer found" in shown and "self-declared" in shown
        replies.append(Reply(body))
        assert profile_domain.prove(row, later) == "proven"
        assert since is not None and row.domain_since == later
    # A host that is silent counts for three days, then no more.
    assert profile_domain.prove(row, later + dt.timedelta(days=1)) == "proven"
    assert profile_domain.prove(row, later + profile.LOST_AFTER) == "lost"
    operator.post(f"{PROFILE}/act", {"act": "withdraw"})
    assert "Nordic GPUs" not in Client().get(at).content.decode()
    # While it was withdrawn nobody looked: said again, nothing of it is proven yet.
    Profile.objects.update(domain_state="proven", domain_since=since)
    operator.post(PROFILE, typed)
    assert sign(operator, PROFILE, waiting(operator, PROFILE)).status_code == 200
    row = Profile.objects.get()
    assert (row.domain_state, row.domain_since) == ("waiting", None)


def test_what_a_provider_says_waits_for_a_moderator_until_it_is_withdrawn(operator: Client) -> None:
    def say(name: str) -> None:
        operator.post(PROFILE, {"name": name, "contact": "", "links": "", "domain": ""})
        assert sign(operator, PROFILE, waiting(operator, PROFILE)).status_code == 200

    def told() -> list[tuple[str, str]]:
        rows = Item.objects.filter(kind=ItemKind.WORDS, closed_at=None).order_by("pk")
        return [(row.about["before"], row.about["after"]) for row in rows]

    say("Nordic GPUs")
    say("Baltic GPUs")
    assert told() == [("", "Baltic GPUs")], "one for whoever looks, however often it changed"
    moderator = User.objects.for_address(MALLORY.address)
    roles.give(moderator, Role.MODERATOR)
    looking.sweep()
    item = Item.objects.get(kind=ItemKind.WORDS, closed_at=None)
    assert item.risk >= 30 and item.concerns == Subject.provider_of(SELLER.address)
    page = signed_in(MALLORY).get(f"/moderation?item={item.pk}").content.decode()
    assert "Baltic GPUs" in page and "own words" in page
    say("Win a prize")  # while the moderator reads
    asked = {"item": item.pk, "act": "approve", "reason": "fine"}
    refused = signed_in(MALLORY).post("/moderation/decide", asked)
    assert refused.status_code == 409 and "replaced or withdrew these" in refused.content.decode()
    assert told() == [("", "Win a prize")], "nobody read it yet"
    since, item = item.opened_at, Item.objects.get(kind=ItemKind.WORDS, closed_at=None)
    assert item.opened_at == since and not Act.objects.exists()
    services.decide(moderator, item.concerns, Decision(Action.APPROVE, "fine"), item=item)
    assert told() == []
    say("Buy my coin")
    operator.post(NOTES, note())
    assert sign(operator, NOTES, waiting(operator, NOTES)).status_code == 200
    assert told() == [("Win a prize", "Buy my coin"), ("", note()["text"])]
    operator.post(f"{NOTES}/{Note.objects.get().pk}/withdraw")
    operator.post(f"{PROFILE}/act", {"act": "withdraw"})
    assert told() == []
    say("Baltic GPUs")
    assert told() == [("", "Baltic GPUs")]


def test_a_chain_that_hangs_costs_the_forms_of_a_listing_one_wait(
    operator: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was five seconds, and one is asked for with every pause in typing."""
    monkeypatch.setattr(node, "GLANCE_SECONDS", 0.2, raising=False)
    monkeypatch.setattr(selectors, "SILENT_FOR", 600)  # of this port alone
    monkeypatch.setattr(node.call, "__kwdefaults__", {"timeout": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{silent.getsockname()[1]}",)
        for path in ("/operator/listing", "/operator/listing/inference/edit"):
            monkeypatch.setattr(node._local, "silent_until", 0.0, raising=False)  # another process
            assert "The chain does not answer" in operator.get(path).content.decode()
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_no_stake_is_named_while_nobody_can_be_asked_for_it(operator: Client) -> None:
    """What a registration locks is the contract's word; 0 0G was named."""
    edit, new = "/operator/listing/inference/edit", signed_in(cast.user(2))
    mine = {"model": "llama-3", "url": "https://a.example", "service_type": "chatbot"}
    prices = {"verifiability": "TeeML", "input_price": "1", "output_price": "2"}
    new.post(edit, {**mine, **prices, "tee_signer": SELLER.address})
    told = new.get(edit).content.decode()
    assert "You earn nothing until" in told and "The chain does not answer" in told
    assert "0 0G of stake" not in told
    assert "not known" in told.partition("<dt>Stake</dt>")[2].partition("</dd>")[0]
