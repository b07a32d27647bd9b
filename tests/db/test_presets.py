"""Presets of settings: a person's own words, encrypted, theirs alone, one per name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts import crypto
from accounts.models import User
from inference import presets
from inference.errors import BadPrompt
from inference.models import OwnPreset, PresetVersion
from tests import factories
from tests.db.personal_world import prove, sign_in

pytestmark = pytest.mark.django_db

GIVEN = {"system": "Answer as a walrus.", "temperature": "0.5", "verified": "on"}


@pytest.fixture
def alice() -> User:
    return User.objects.for_address(factories.ALICE)


@pytest.fixture
def bob() -> User:
    return User.objects.for_address(factories.BOB)


def test_one_per_name_encrypted_and_without_the_wish_for_verified(alice: User) -> None:
    first = presets.save(alice, " Sea  animal ", GIVEN)
    again = presets.save(alice, "sea animal", {**GIVEN, "temperature": "1"})
    assert again.id == first.id
    (own,) = presets.of(alice)
    assert (own.name, own.options.temperature) == ("sea animal", "1")
    assert own.options.system == "Answer as a walrus." and not own.options.verified
    assert "walrus" not in OwnPreset.objects.get().sealed
    other = presets.save(alice, "Other", {})
    with pytest.raises(BadPrompt, match="another preset"):
        presets.save(alice, "Sea Animal", {}, other.id)
    with pytest.raises(BadPrompt, match="1 to 40"):
        presets.save(alice, " \x00 ", {})
    with pytest.raises(BadPrompt, match="Temperature"):
        presets.save(alice, "Hot", {"temperature": "11"})
    OwnPreset.objects.filter(pk=other.id).update(sealed="not ours")
    assert [own.name for own in presets.of(alice)] == ["sea animal"]


def test_a_question_is_kept_with_its_open_places(alice: User, client: Client) -> None:
    asked = "Translate {{text}}\r\ninto {{language}}. \x00"
    own = presets.save(alice, "Translate", {**GIVEN, "body": asked})
    assert own.body == "Translate {{text}}\ninto {{language}}. \ufffd"
    assert presets.of(alice) == (own,) and "Translate" not in OwnPreset.objects.get().sealed
    # settings alone leave it, what is emptied goes
    assert presets.save(alice, "translate", {"temperature": "1"}).body == own.body
    with pytest.raises(BadPrompt, match="up to 8,000"):
        presets.save(alice, "Long", {"body": "x" * (presets.MAX_BODY_CHARS + 1)})
    # a form sends a line break as two characters, its field counts one
    lines = "\r\n".join(["x" * 79] * 100)
    assert len(presets.save(alice, "Lines", {"body": lines}).body) == presets.MAX_BODY_CHARS - 1
    presets.delete(alice, presets.save(alice, "Lines", {}).id)
    factories.head()
    factories.contract()
    factories.service()
    client.force_login(alice)
    page = client.get("/playground/chat", {"preset": own.id}).content.decode()
    assert "Translate {{text}}\ninto {{language}}. \ufffd</textarea>" in page
    assert f'href="?preset={own.id}" aria-current="true" data-body="Translate {{{{text' in page
    page = client.get(f"/playground/chat?preset={own.id}&draft=Mine").content.decode()
    assert "Mine</textarea>" in page
    saved = {"preset_name": "From the chat", "preset_body": "on", "text": "What is {{it}}?"}
    htmx = {"HX-Request": "true"}
    answer = client.post("/playground/presets", saved, headers=htmx)
    assert 'data-body="What is {{it}}?"' in answer.content.decode()
    del saved["preset_body"]
    client.post("/playground/presets", {**saved, "preset_name": "Settings"}, headers=htmx)
    bodies = {one.name: one.body for one in presets.of(alice)}
    assert bodies == {"From the chat": "What is {{it}}?", "Settings": "", "translate": own.body}
    # nothing is being written: the question that is kept stays
    empty = {"preset_name": "From the chat", "preset_body": "on", "text": " "}
    answer = client.post("/playground/presets", empty, headers=htmx)
    assert 'data-body="What is {{it}}?"' in answer.content.decode()
    assert presets.save(alice, "translate", {"body": " "}).body == ""


def test_what_it_said_before_is_kept_and_can_be_taken_up_again(
    alice: User, bob: User, client: Client
) -> None:
    own = presets.save(alice, "Walrus", {**GIVEN, "body": "What is {{it}}?"})
    presets.save(alice, "walrus", {**GIVEN, "body": "What is {{it}}?"})  # its name is part of it
    presets.save(alice, "walrus", {**GIVEN, "body": "What is {{it}}?"})
    assert len(presets.versions(alice, own.id)) == 1, "the same again is no version"
    presets.save(alice, "walrus", {"system": "Answer as a seal.", "body": ""})
    newest, first = presets.versions(alice, own.id)
    assert (newest.own.name, first.own.name) == ("walrus", "Walrus")
    assert newest.settings == 'temperature: "0.5"' and newest.own.body == "What is {{it}}?"
    assert "walrus" not in str(PresetVersion.objects.values_list("sealed"))
    assert b"a walrus" not in presets.document(alice) and b"seal." in presets.document(alice)
    client.force_login(alice)
    here = f"/playground/presets/{own.id}/versions"
    assert here in client.get("/playground/presets").content.decode()
    page = client.get(here).content.decode()
    assert page.count('data-testid="preset-version"') == 2 and "Answer as a walrus." in page
    client.force_login(bob)
    assert client.get(here).status_code == 404
    assert client.post(f"{here}/{first.id}").status_code == 404
    client.force_login(alice)
    assert client.post(f"{here}/{first.id}").status_code == 302
    (again,) = presets.of(alice)
    assert (again.name, again.options.system) == ("Walrus", "Answer as a walrus.")
    assert again.body == "What is {{it}}?"
    assert [one.own.options.system[10:] for one in presets.versions(alice, own.id)] == [
        "a seal.",
        "a walrus.",
        "a walrus.",
    ]
    # its name may be another's by now, and then nothing changes
    presets.save(alice, "Otter", {}, own.id)
    presets.save(alice, "Walrus", {})
    refused = client.post(f"{here}/{first.id}")
    assert refused.status_code == 400 and "another preset" in refused.content.decode()
    for number in range(presets.MOST_VERSIONS + 2):
        presets.save(alice, "Otter", {"temperature": "1", "seed": number}, own.id)
    kept = presets.versions(alice, own.id)
    assert len(kept) == presets.MOST_VERSIONS and kept[0].own.options.seed == number - 1
    other = presets.save(bob, "Otter", {})
    assert client.post(f"/playground/presets/{other.id}/versions/{kept[0].id}").status_code == 404
    presets.delete(alice, own.id)
    assert client.get(here).status_code == 404 and presets.versions(alice, own.id) == ()


def test_the_archive_reads_every_earlier_text_at_once(
    alice: User, django_assert_num_queries: Any
) -> None:
    owns = [presets.save(alice, name, {"system": "0"}) for name in ("b", "a", "c")]
    for number in "12":
        for own in owns:
            presets.save(alice, own.name, {"system": number}, own.id)
    presets.delete(alice, owns[2].id)
    with django_assert_num_queries(2):
        rows = orjson.loads(presets.earlier(alice))["versions"]
    said = [(row["preset"], row["options"]["system"]) for row in rows]
    assert said == [("a", "1"), ("a", "0"), ("b", "1"), ("b", "0")]


def test_a_refused_form_keeps_what_was_typed(alice: User, client: Client) -> None:
    own = presets.save(alice, "Mine", {**GIVEN, "body": "Stored"})
    client.force_login(alice)
    typed = {
        "preset_name": "Yours",
        "system": "\r\n".join(["s" * 79] * 100),
        "body": "Typed\r\n{{it}} <b>",
        "temperature": "11",
        "max_tokens": "many",
        "stop": "A\r\nB",
        "schema": "{",
        "json": "on",
    }

    def form(preset: int, given: int) -> str:
        answer = client.post("/playground/presets", {**typed, "preset_id": given})
        assert answer.status_code == 400
        page = answer.content.decode()
        assert (
            page.split("<main")[1].count('class="notice bad"') == 1
            and page.count("Typed\n{{it}} &lt;b&gt;") == 1
        )
        return page.partition(f'for="name-{preset}"')[2].partition("</form>")[0]

    for preset, given in ((own.id, own.id), (0, 0), (0, own.id + 999)):  # the last is gone
        shown = form(preset, given)
        for value in ('value="Yours"', 'value="11"', 'value="many"', ">A\nB\n<", ">{<"):
            assert value in shown, value
        assert "Typed" in shown and 'name="json" checked' in shown
    typed.update(temperature="1", max_tokens="", schema="")
    client.post("/playground/presets", {**typed, "preset_id": own.id})
    (kept,) = presets.of(alice)
    assert (kept.name, len(kept.options.system)) == ("Yours", presets.MAX_BODY_CHARS - 1)


def test_ones_own_file_is_never_too_large(alice: User, bob: User) -> None:
    long = "\U0001f9ad" * presets.MAX_BODY_CHARS
    schema = '{"a":"' + "\U0001f9ad" * (8_000 - 8) + '"}'
    for number in range(presets.MOST):
        presets.save(alice, f"n{number}", {"system": long, "body": long, "schema": schema})
    assert presets.take_in(bob, presets.document(alice)) == presets.MOST


def test_a_file_gives_presets_to_others(alice: User, bob: User, client: Client) -> None:
    presets.save(alice, "Translate", {**GIVEN, "stop": "A\nB", "body": "Say {{it}}"})
    presets.save(alice, "x" * 40, {"seed": "7"})
    client.force_login(alice)
    stale = client.get("/playground/presets.json")
    assert stale.status_code == 403 and b"walrus" not in stale.content
    prove(client, 0)
    file = client.get("/playground/presets.json").content
    one = client.get("/playground/presets.json", {"preset": presets.of(alice)[0].id}).content
    assert alice.address.lower() not in file.decode().lower() and b'verified": true' not in file

    def take_in(data: bytes) -> int:
        given = {"file": SimpleUploadedFile("presets.json", data)}
        return client.post("/playground/presets/import", given).status_code

    sign_in(client, bob)
    assert take_in(file) == 302 and take_in(one) == take_in(one) == 302
    shown = [(own.name, own.options, own.body) for own in presets.of(bob)]
    first = presets.of(alice)[0]
    told = (first.options, first.body)
    assert shown[:3] == [(name, *told) for name in ("Translate", "Translate 2", "Translate 3")]
    assert take_in(file) == 302
    assert {"x" * 40, "x" * 38 + " 2"} < {own.name for own in presets.of(bob)}
    # all or nothing, and whatever strangers put into a file
    before = presets.of(bob)
    good = orjson.loads(one)["presets"][0]
    wrong: Any = ({"options": {"temperature": 9}}, {"name": ""}, {"name": 1}, {"options": []})
    for rows in ([], [good, 1], [good] * 41, *([good, {**good, **part}] for part in wrong)):
        assert take_in(orjson.dumps({"presets": rows})) == 400
    for data in (b"", b"[]", b"\xff", b"[" * 99_999, b"{}", b" " * (presets.MAX_FILE_BYTES + 1)):
        assert take_in(data) == 400
    assert client.post("/playground/presets/import").status_code == 400
    assert presets.of(bob) == before
    hostile = {"name": "<b>\x00", "options": {"system": "<script>", "seed": "9" * 99}, "body": 7}
    assert take_in(orjson.dumps({"presets": [hostile]})) == 400
    del hostile["options"]["seed"]  # type: ignore[attr-defined]
    assert take_in(orjson.dumps({"presets": [hostile]})) == 302
    taken = {**good, "name": "Trans\x00late", "body": "Not mine"}
    assert take_in(orjson.dumps({"presets": [taken]})) == 302
    assert {own.body for own in presets.of(bob) if own.name == "Translate"} == {"Say {{it}}"}
    page = client.get("/playground/presets").content.decode()
    assert "&lt;script&gt;" in page and "<script>" not in page.split("<main")[1]
    client.logout()
    assert take_in(file) == 404


def test_there_is_a_most(alice: User, client: Client) -> None:
    for number in range(presets.MOST):
        presets.save(alice, f"n{number}", {})
    with pytest.raises(BadPrompt, match="Delete one first"):
        presets.save(alice, "one more", {})
    presets.save(alice, "N0", {"seed": "1"})
    # what was deleted does not come back beyond it, nor beside another of its name
    first = presets.of(alice)[0]
    client.force_login(alice)
    undo = f"/playground/presets/{first.id}/undo"
    for taking, words in (("one more", "Delete one first"), (first.name, "another preset called")):
        presets.delete(alice, first.id)
        taken = presets.save(alice, taking, {})
        assert len(presets.of(alice)) == presets.MOST
        if taking == first.name:
            presets.delete(alice, presets.of(alice)[-1].id)
        refused = client.post(undo)
        assert refused.status_code == 400 and words in refused.content.decode()
        presets.delete(alice, taken.id)
    assert client.post(undo).status_code == 302 and first in presets.of(alice)


def test_strangers_reach_nothing(alice: User, bob: User, client: Client) -> None:
    own = presets.save(alice, "Mine", GIVEN)
    with pytest.raises(BadPrompt, match="not there"):
        presets.save(bob, "Mine", {}, own.id)
    assert not presets.delete(bob, own.id) and presets.of(bob) == ()
    path = f"/playground/presets/{own.id}/delete"
    assert client.post(path).status_code == 404
    client.force_login(bob)
    assert client.post(path).status_code == 404
    assert b"walrus" not in client.get("/playground/presets").content
    client.force_login(alice)
    assert b"walrus" in client.get("/playground/presets").content
    long = {"preset_id": "9" * 5000, "preset_name": "Mine", "temperature": "11"}
    assert client.post("/playground/presets", long).status_code == 400
    assert client.get("/playground/presets", {"deleted": "9" * 5000}).status_code == 200
    offer = f"/playground/presets?deleted={own.id}"
    for _ in range(2):  # one click may be two
        assert client.post(path).headers.get("Location") == offer and presets.of(alice) == ()
    assert b"The preset was deleted." in client.get(offer).content
    assert client.post(f"/playground/presets/{own.id}/undo").status_code == 302
    assert presets.of(alice) == (own,)
    assert b"The preset was deleted." not in client.get(offer).content
    # After its minute it stays deleted, purged or not.
    assert client.post(path).status_code == 302
    OwnPreset.objects.update(deleted_at=timezone.now() - 2 * presets.UNDO_FOR)
    late = client.post(f"/playground/presets/{own.id}/undo")
    assert late.status_code == 404 and b"It is too late to undo this." in late.content
    assert presets.of(alice) == ()


def test_what_was_deleted_goes_and_keys_turn_over(alice: User, settings: object) -> None:
    kept, gone = presets.save(alice, "Kept", GIVEN), presets.save(alice, "Gone", GIVEN)
    before = OwnPreset.objects.get(pk=kept.id).sealed
    assert presets.save(alice, "Gone", {}).id == gone.id
    old = settings.FIELD_KEYS  # type: ignore[attr-defined]
    settings.FIELD_KEYS = (Fernet.generate_key().decode(), *old)  # type: ignore[attr-defined]
    assert crypto.rotate() == (3, 0), "two, and what one said before"
    assert OwnPreset.objects.get(pk=kept.id).sealed != before
    presets.delete(alice, gone.id)
    assert presets.purge() == 0
    OwnPreset.objects.filter(pk=gone.id).update(deleted_at=timezone.now() - timedelta(minutes=2))
    assert presets.purge() == 2 and not PresetVersion.objects.exists()
    assert presets.of(alice) == (kept,)
