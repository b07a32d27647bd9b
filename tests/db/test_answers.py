"""`/verify` for one answer: the provider's own signature, compared with what somebody brings."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from eth_account import Account

from attestation.models import Document, Verification
from inference import answers, proofs, shown_words, wire
from inference.export import FORMAT
from ledger.models import Service, ServingContract
from protocol import replies
from tests import factories
from tests.live.chat_upstream import SIGNER, SIGNER_KEY, Asked, Reply, ThreadedUpstream, Upstream

pytestmark = pytest.mark.django_db(transaction=True)

REQUEST = b'{"model": "m", "messages": []}'
ANSWER = b'data: {"choices": []}\n\ndata: [DONE]\n\n'
ID = "answer-1"
VERDICT = r'data-verdict="([a-z_]+)" data-testid="message-verdict"'


async def silent(reply: Reply, asked: Asked) -> None:
    await reply.whole(b"{}", 404)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(silent) as started:
        yield started


@pytest.fixture(autouse=True)
def market(upstream: Upstream) -> None:
    cache.clear()
    factories.head()
    factories.contract()
    factories.service(url=upstream.url, tee_signer=SIGNER)
    upstream.signatures[ID] = signature(REQUEST, ANSWER)


def signature(request: bytes, answer: bytes, key: bytes = SIGNER_KEY) -> dict[str, Any]:
    text = f"{hashlib.sha256(request).hexdigest()}:{hashlib.sha256(answer).hexdigest()}"
    return {
        "text": text,
        "signature": replies.sign_text(text, key),
        "signing_address": Account.from_key(key).address,
        "signing_algo": "ecdsa",
    }


def check(client: Client, status: int = 200, **given: Any) -> str:
    values = {"provider": factories.PETRA, "answer_id": ID, **given}
    response = client.post("/verify?what=answer", values)
    assert response.status_code == status
    return html.unescape(response.content.decode())


def verdict(page: str) -> str:
    found = re.search(r'data-verdict="([a-z_]+)" data-testid="message-verdict"', page)
    assert found
    return found[1]


def test_both_bodies_equal_what_was_signed(client: Client) -> None:
    page = check(
        client,
        request_file=SimpleUploadedFile("request", REQUEST),
        response_file=SimpleUploadedFile("answer", ANSWER),
    )
    assert verdict(page) == "verified"
    assert page.count("the same</span>") == 3 and "as the provider lists it now" in page
    assert "The key that the chain names now signed exactly this request" in page
    assert hashlib.sha256(ANSWER).hexdigest() in page


def test_a_routing_proof_is_called_one(client: Client, upstream: Upstream) -> None:
    text = f"{upstream.signatures[ID]['text']}:openai:api.example:{'0' * 64}"
    upstream.signatures[ID] |= {"text": text, "signature": replies.sign_text(text, SIGNER_KEY)}
    page = check(client, request_text=REQUEST.decode(), response_text=ANSWER.decode())
    assert verdict(page) == "verified" and "It is a routing proof" in page


def test_a_form_changes_line_ends_and_the_pasted_answer_is_still_found(client: Client) -> None:
    pasted = ANSWER.decode().strip().replace("\n", "\r\n")
    assert verdict(check(client, request_text=REQUEST.decode(), response_text=pasted)) == "verified"


def test_one_changed_letter_is_seen(client: Client) -> None:
    page = check(client, request_text=REQUEST.decode(), response_text="data: something else")
    assert verdict(page) == "altered"
    page = check(client, request_text="another question", response_text=ANSWER.decode())
    assert verdict(page) == "rewritten" and "for another request than the one that you" in page
    assert "different" in page


def test_without_bodies_nothing_is_called_verified(client: Client) -> None:
    client.cookies["django_language"] = "de"
    titles = re.findall(r"<dt>(\w+)</dt><dd><span", check(client))
    assert titles[1:] == ["Anfrage", "Antwort", "Signierer"]
    client.cookies.clear()
    page = check(client)
    assert verdict(page) == "not_comparable"
    assert "The key that the chain names signed an answer" in page
    assert verdict(check(client, response_text="data: something else")) == "altered"
    assert verdict(check(client, response_text=ANSWER.decode())) == "not_comparable"


def test_another_key_than_the_chains_is_a_failure(client: Client, upstream: Upstream) -> None:
    upstream.signatures[ID] = signature(REQUEST, ANSWER, bytes(31) + b"\x07")
    bodies: Any = {"request_text": REQUEST.decode(), "response_text": ANSWER.decode()}
    page = check(client, **bodies)
    # A provider may have had another key when the answer came.
    assert verdict(page) == "failed" and "than the one that the chain names now" in page
    client.cookies["django_language"] = "de"
    assert "den die Chain jetzt nennt" in check(client, **bodies)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"provider": "0x12"}, "not an address"),
        ({"provider": factories.ALICE}, "offers no inference service"),
        ({"answer_id": "../../admin"}, "An answer id has"),
        ({"answer_id": "nothing"}, "no signature for this id (status 400)"),
    ],
)
def test_what_stands_in_the_way_is_told(client: Client, given: dict[str, str], words: str) -> None:
    page = check(client, 400, **given)
    assert words in page
    assert factories.PETRA in page or given.get("provider", "") in page  # what was typed stays


def test_a_provider_that_does_not_answer_and_one_that_never_signs(client: Client) -> None:
    Service.objects.update(url="http://127.0.0.1:9")
    assert "could not be asked" in check(client, 400)
    Service.objects.update(verifiability="standard")
    assert "signs nothing" in check(client, 400)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    assert "nichts zu signieren" in check(client, 400)


def test_an_exported_conversation_is_checked_answer_by_answer(client: Client) -> None:
    def turn(**changed: Any) -> dict[str, Any]:
        proof = {
            "provider": factories.PETRA,
            "answer_id": ID,
            "request_base64": base64.b64encode(REQUEST).decode(),
            "response_base64": base64.b64encode(ANSWER).decode(),
            "signature": signature(REQUEST, ANSWER),
        }
        return {**proof, **changed}

    altered = base64.b64encode(b"something else").decode()
    document = {
        "format": FORMAT,
        "version": 1,
        "turns": [turn(), turn(response_base64=altered), turn(signature=None), {"id": 1}],
    }
    file = SimpleUploadedFile("chat.json", json.dumps(document).encode())
    page = client.post("/verify", {"file": file}).content.decode()
    assert 'name="file"' in page, "another file can be brought at once"
    found = re.findall(r'data-verdict="([a-z_]+)" data-testid="message-verdict"', page)
    assert found == ["verified", "altered"]
    # What is missing among them is not passed over, and no model is put to a signature's account.
    assert "Of 2 more answers in this file nothing can be said" in page
    named = json.dumps({**document, "turns": [turn(model="a-better-one")]}).encode()
    page = client.post("/verify", {"file": SimpleUploadedFile("c.json", named)}).content.decode()
    assert re.search(
        r"a-better-one</bdi> <span class=\"sub\">by the word of what you brought", page
    )
    assert "nothing can be said" not in page
    strange = {**document, "turns": [turn(provider=factories.BOB)]}
    file = SimpleUploadedFile("chat.json", json.dumps(strange).encode())
    assert client.post("/verify", {"file": file}).status_code == 400
    made: tuple[dict[str, Any], ...] = (
        {"turns": []},
        {"turns": [1]},
        {"format": FORMAT, "turns": [{"signature": 1}]},
    )
    for broken in made:
        given = SimpleUploadedFile("chat.json", json.dumps(broken).encode())
        assert client.post("/verify", {"file": given}).status_code in (200, 400)
    # with the pictures of one question; and with more values than an export has
    pictures = REQUEST + base64.b64encode(random.Random(7).randbytes(4 << 20))
    large = base64.b64encode(zlib.compress(pictures)).decode()
    whole = {
        "request_packed": large,
        "response_packed": base64.b64encode(zlib.compress(ANSWER)).decode(),
        "signature": signature(pictures, ANSWER),
    }
    for turns, words in (([turn(**whole)], 'data-verdict="verified"'), ([{}] * 600_000, "values")):
        file = SimpleUploadedFile("chat.json", json.dumps({**document, "turns": turns}).encode())
        assert words in client.post("/verify", {"file": file}).content.decode()


def test_words_that_a_file_shows_beside_the_signed_bytes_are_held_against_them(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the file reads `question` and `answer`; anybody can change those."""
    said = [wire.Message("system", "Be brief."), wire.Message("user", "Really?")]
    request = wire.request_body(model="m", messages=said, max_tokens=9)
    pieces = [{"reasoning_content": "Hm."}, {"content": "No, "}, {"content": "never.\u0000"}]
    stream = b"".join(
        b"data: " + json.dumps({"choices": [{"delta": piece}]}).encode() + b"\n\n"
        for piece in pieces
    )
    whole = json.dumps({"choices": [{"message": {"content": "No, never."}}]}).encode()
    first: dict[str, Any] = {"question": "Really?", "answer": "No, never.\ufffd"}
    first["reasoning"] = "Hm."

    def verdicts(
        *turns: dict[str, Any], response: bytes = stream + b"data: [DONE]\n\n"
    ) -> list[str]:
        proof = {
            "provider": factories.PETRA, "answer_id": ID, "request_shared": 0,
            "request_packed": packed(request), "response_packed": packed(response),
            "signature": signature(request, response),
        }  # fmt: skip
        told = {"format": FORMAT, "version": 2, "turns": [{**proof, **turn} for turn in turns]}
        cache.clear()
        file = SimpleUploadedFile("chat.json", json.dumps(told).encode())
        page = client.post("/verify", {"file": file}).content.decode()
        assert page.count("are others") == len(re.findall('data-verdict="altered"', page))
        found = VERDICT + '|data-testid="(hashes-signed)"'
        return ["".join(match) for match in re.findall(found, page)]

    assert verdicts(first, {}, {"answer": ""}) == ["verified"] * 3
    changes: tuple[dict[str, Any], ...] = (
        {"answer": "Yes."}, {"answer": "No, "}, {"question": "Is it false?"}, {"reasoning": "Yes"},
        {"question": 7}, {"answer": ["No, never."]}, {"question": "Be brief."},
    )  # fmt: skip
    for change in changes:
        assert verdicts({**first, **change}) == ["altered"], change
    plain: dict[str, Any] = {"question": "Really?", "answer": "No, never."}
    assert verdicts(plain, response=whole) == ["verified"]
    assert verdicts({"answer": "Yes"}, response=whole) == ["altered"]
    assert verdicts({"answer": "Yes"}, response=b"no chunks at all") == ["altered"]
    # Thoughts inside an answer are told from it; files of before have them as they came.
    said_inside = "<think>Hm.</think>\n\nNo, never."
    inside = json.dumps({"choices": [{"message": {"content": said_inside}}]}).encode()
    for shown in ({**plain, "reasoning": "Hm."}, {"answer": said_inside}):
        assert verdicts(shown, response=inside) == ["verified"]
    assert verdicts({"answer": "Hm."}, response=inside) == ["altered"]
    twice = json.dumps({"choices": [{"message": {"content": f"<think>A.</think>{said_inside}"}}]})
    assert verdicts({**plain, "reasoning": "A.Hm."}, response=twice.encode()) == ["verified"]
    # What ended with an error is kept up to there.
    failed = stream + b'data: {"error": {"message": "full"}}\n\n'
    assert verdicts({**first, "answer": "No, "}, response=failed) == ["verified"]
    assert verdicts({**first, "answer": "Yes, "}, response=failed) == ["altered"]
    # A file that is too long to read is not called verified for it.
    monkeypatch.setattr(shown_words, "MAX_LINES", 12)
    assert verdicts(first, first) == ["verified", "hashes-signed"]
    request = request[:-1] + b',"x":[%s{}]}' % (b"{}," * 200)  # nor what takes as long to read
    assert verdicts(first) == ["hashes-signed"]


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def test_a_stopped_answer_accuses_nobody(client: Client) -> None:
    cut = {
        "provider": factories.PETRA, "answer_id": ID, "request_shared": 0, "complete": False,
        "request_packed": packed(REQUEST), "response_packed": packed(ANSWER[:20]),
        "signature": signature(REQUEST, ANSWER),
    }  # fmt: skip
    told = [
        cut,
        {**cut, "response_packed": None},  # failed: nothing of it was kept
        {**cut, "signature": None},
        {**cut, "response_packed": packed(ANSWER)},  # stopped after its last byte
        {**cut, "signature": signature(REQUEST, ANSWER, bytes(31) + b"\x07")},
        {**cut, "complete": True},
    ]
    document = {"format": FORMAT, "version": 2, "turns": told}
    file = SimpleUploadedFile("chat.json", json.dumps(document).encode())
    page = client.post("/verify", {"file": file}).content.decode()
    assert re.findall(VERDICT, page) == [
        "not_comparable", "not_comparable", "not_comparable", "verified", "failed", "altered",
    ]  # fmt: skip
    assert page.count("This answer was stopped or cut off.") == 3
    assert page.count("Do not rely on this answer.") == 1
    page = check(client, request_text=REQUEST.decode(), response_text="data: half", stopped="on")
    assert verdict(page) == "not_comparable" and "was stopped or cut off." in page


def proof(**changed: Any) -> dict[str, Any]:
    """One request as transcripts, archives of pictures and the relay hand it over."""
    return {
        "provider": factories.PETRA,
        "model": "m",
        "answer_id": ID,
        "complete": True,
        "request_sha256": hashlib.sha256(REQUEST).hexdigest(),
        "response_sha256": hashlib.sha256(ANSWER).hexdigest(),
        "signature": signature(REQUEST, ANSWER),
        **changed,
    }


def test_files_of_hashes_are_judged_and_nothing_of_them_is_kept(client: Client) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    two = f"{other},{proof()['response_sha256']}"
    text = f"{proof()['request_sha256']}:{two}"
    both = {**signature(REQUEST, ANSWER), "text": text}
    both["signature"] = replies.sign_text(text, SIGNER_KEY)
    old = proof(response_sha256=other, verdict_reason="not_received_whole")
    del old["complete"]
    requests = [proof(), proof(response_sha256=other), old, proof(signature=None)]
    files: list[tuple[dict[str, Any], int, list[str]]] = [
        ({"text": "private", "segments": [], "requests": requests}, 1,
         ["altered", "not_comparable"]),
        ({"wish": {}, "files": [], "requests": [proof(signature=both, response_sha256=two)]}, 1,
         []),
        ({"object": "verification", **proof()}, 1, []),
        ({"object": "verification", **proof(complete=False, response_sha256=other)}, 0,
         ["not_comparable"]),
        ({"object": "verification", **proof(response_sha256="")}, 0, ["not_comparable"]),
    ]  # fmt: skip
    for document, signed, verdicts in files:
        response = client.post("/verify", {"text": json.dumps(document)})
        page = response.content.decode()
        assert (response.status_code, re.findall(VERDICT, page)) == (200, verdicts)
        assert page.count('data-testid="hashes-signed"') == signed
    # a provider may be listed in two contracts, with a key of its own in each: the named one counts
    newer = factories.address("newer contract")
    factories.contract(address=newer, service_name="inference-v2.0", registered_block=20)
    ServingContract.objects.exclude(address=newer).update(recommended=False)
    factories.service(serving=newer, tee_signer=factories.address("another key"))
    for name in ("serving_contract", "serving"):
        cache.clear()  # ten a minute
        for where, seen in ((factories.INFERENCE, []), (newer, ["failed"]), ("0x", ["failed"])):
            text = json.dumps({"requests": [proof(**{name: where})]})
            page = client.post("/verify", {"text": text}).content.decode()
            assert re.findall(VERDICT, page) == seen, (name, where)
    nothing: tuple[list[Any], ...] = ([], [proof(signature=None), 7])
    for rows in nothing:
        response = client.post("/verify", {"text": json.dumps({"requests": rows})})
        assert response.status_code == 400
        assert "No request in this file has a signature" in response.content.decode()
    private = client.post("/verify", {"text": '{"text": "private words"}'})
    assert (private.status_code, b"neither stored nor published" in private.content) == (400, True)
    assert not Verification.objects.exists() and not Document.objects.exists()


def test_the_pictures_of_an_archive_count_by_their_own_bytes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {
        "wish": {},
        "files": [{"name": "fox.png", "sha256": proof()["response_sha256"], "seed": 1}],
        "requests": [proof()],
    }

    def told(**members: bytes) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {
                "fox.png": ANSWER,
                "01234567.json": json.dumps(facts).encode(),
            }.items():
                archive.writestr(name, members.get(name.partition(".")[0].strip("0"), data))
        file = SimpleUploadedFile("pictures.zip", buffer.getvalue())
        return client.post("/verify", {"file": file}).content.decode()

    def mark(page: str) -> list[str]:
        return re.findall(r'hashes-signed">.*?</svg>([^<]+)<', page)

    whole = told()
    assert mark(whole) == ["Pictures as signed"] and not re.findall(VERDICT, whole)
    assert re.findall(VERDICT, told(fox=b"another fox")) == ["altered"]
    # whatever hash the archive states for the swapped picture, its bytes are what counts
    other = hashlib.sha256(b"another fox").hexdigest()
    facts["files"] = [{"name": "fox.png", "sha256": other, "seed": 1}]
    assert mark(told(fox=b"another fox")) == ["Hashes signed, bytes not brought"]
    # nor is one of two that state the same hash passed over, or another taken for signed
    right = {"name": "fox.png", "sha256": proof()["response_sha256"]}
    facts["files"] = [{**right, "name": "01234567.json"}, right]
    assert re.findall(VERDICT, told()) == ["altered"]
    assert "nothing of other pictures in this archive" in whole
    facts["files"] = [right]
    assert "become more than 64 MB" in told(fox=bytes(proofs.MAX_UNPACKED + 1))
    assert "cannot be read" in told(**{"1234567": b"{"})
    # Each file is read once, however often it is named; of too many requests none is looked at.
    opened: list[object] = []
    real = zipfile.ZipFile.open

    def reading(self: zipfile.ZipFile, name: Any, mode: Any = "r", **more: Any) -> Any:
        opened.extend([name] if mode == "r" else [])
        return real(self, name, mode, **more)

    monkeypatch.setattr(zipfile.ZipFile, "open", reading)
    facts["files"] = [{"name": "fox.png", "sha256": str(n)} for n in range(1000)]
    assert mark(told()) == ["Hashes signed, bytes not brought"]
    assert opened == ["01234567.json", "fox.png"]
    facts["requests"] = [proof(provider=factories.address(str(n))) for n in range(1001)]
    with CaptureQueriesContext(connection) as asked:
        assert "more than 1,000 requests" in told()
    assert len(asked) < 20
    assert not Document.objects.exists() and not Verification.objects.exists()


def test_files_that_swell_or_lie_are_ended(client: Client) -> None:
    def told(*turns: dict[str, Any]) -> str:
        document = {"format": FORMAT, "version": 2, "turns": [*turns]}
        file = SimpleUploadedFile("chat.json", json.dumps(document).encode())
        return client.post("/verify", {"file": file}).content.decode()

    def turn(**changed: Any) -> dict[str, Any]:
        proof = {"provider": factories.PETRA, "answer_id": ID, "request_shared": 0}
        bodies = {"request_packed": packed(REQUEST), "response_packed": packed(ANSWER)}
        return {**proof, **bodies, "signature": signature(REQUEST, ANSWER), **changed}

    first, rest = REQUEST[:9], REQUEST[9:]
    shared = turn(request_shared=9, request_packed=packed(rest))
    found = r'data-verdict="([a-z_]+)" data-testid="message-verdict"'
    assert re.findall(found, told(turn(request_packed=packed(first)), shared)) == [
        "rewritten",
        "verified",
    ]
    for lie in (-1, 10**9, True, "9"):
        assert "verified" not in re.findall(found, told({**shared, "request_shared": lie}))
    for broken in ("!", 7, base64.b64encode(b"no zlib").decode()):
        assert "not_comparable" in re.findall(found, told(turn(response_packed=broken)))
    bomb = packed(bytes(answers.MAX_UNPACKED + 1))
    assert "become more than 64 MB" in told(turn(response_packed=bomb))
    many = [turn(request_packed=packed(bytes(1 << 20)))]
    many += [turn(request_shared=1 << 20, request_packed=packed(b"")) for _ in range(70)]
    assert "become more than 64 MB" in told(*many)
