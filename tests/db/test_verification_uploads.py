"""Evidence that somebody brings, the command line, and the connection a report came over."""

from __future__ import annotations

import base64
import datetime as dt
import io
import ipaddress
import json
import ssl
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
from asgiref.sync import async_to_sync
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from attestation import bundle, checks, published, services
from attestation.engine import references
from attestation.engine.anchors import VENDOR
from attestation.errors import BadUpload
from attestation.models import Document, Standing, Trigger, Verification
from attestation.services import Upload
from marketplace.env import Env
from marketplace.settings import database
from net.addresses import Policy
from net.client import Client
from provider.tee.development.intel import DEBUG_ATTRIBUTES
from provider.tee.development.report import Machine
from tests.db.api_rows import PETRA, address, tuning
from tests.db.verification_world import (
    LAB,
    Provider,
    always,
    evidence,
    listed,
    provider,
    run,
    words,
)
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db
#: A report by its form, with nothing good in it.
BROKEN = json.dumps({"quote": "00" * 64}).encode()


def swapped(data: bytes, said: dict[str, Any]) -> bytes:
    """A bundle with another `published.json`."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            body = json.dumps(said).encode() if name == "published.json" else old.read(name)
            new.writestr(name, body)
    return made.getvalue()


# --- uploads --------------------------------------------------------------------------------------


def test_an_uploaded_report_is_judged_now_with_our_documents() -> None:
    stored = services.judge_upload(Upload(body=evidence(), onchain_signer=ADDRESS), by=None)
    assert (stored.endpoint, stored.trigger, stored.provider) == ("upload", "upload", "")
    assert (stored.overall, words(stored)["tdx.tcb"]) == ("dev-pass", "pass")
    assert words(stored)["bind.onchain"] == "pass"
    assert "bind.ack" not in words(stored)
    assert words(services.judge_upload(Upload(body=evidence())))["bind.onchain"] == "not_checked"
    other = services.judge_upload(Upload(body=evidence(), onchain_signer=address(1)))
    assert other.overall == "fail"
    assert not Standing.objects.exists(), "an upload is nobody's evidence"
    taken = services.bundle(stored)
    again = services.judge_upload(Upload(bundle=taken))
    assert (again.overall, again.rows, again.now_unix) == (
        stored.overall, stored.rows, stored.now_unix
    )  # fmt: skip
    assert again.notes[0]["text"] == (
        f"says what was found here; it is our report {stored.pk}, of a file that somebody brought"
    )
    # What a stranger made fit is nobody's word, and what they call things is not repeated.
    said = bundle.published(taken)
    assert said is not None
    said |= {"overall": "pass", "checks": [{"id": "<b>Buy"}, *said["checks"]]}
    said[published.HASH] = published.hash_of(said)
    assert [note["key"] for note in again.notes] == ["published.json"]
    note, keys = services.judge_upload(Upload(bundle=swapped(taken, said))).notes
    assert note["text"] == (
        "differs from what was found here in overall, 1 more; nothing here says who made it"
    )
    assert keys["key"] == "jwks.json" and "not known here" in keys["text"]
    said["overall"] = "fail"
    note = services.judge_upload(Upload(bundle=swapped(taken, said))).notes[0]["text"]
    assert note == "was changed: it does not have the hash that it names"


def test_a_gpu_alone_and_a_payload() -> None:
    entry = LAB.nvidia.payload(bytes(32), 1)["evidence_list"][0]
    body, chain = (base64.b64decode(entry[name]) for name in ("evidence", "certificate"))
    stored = services.judge_upload(Upload(kind="gpu", body=body, chain_pem=chain, nonce="00" * 32))
    assert (words(stored)["gpu0.sig"], words(stored)["gpu0.nonce"]) == ("pass", "pass")
    assert services.judge_upload(Upload(bundle=services.bundle(stored))).rows == stored.rows
    payload = json.dumps(LAB.nvidia.payload(bytes(32), 2)).encode()
    stored = services.judge_upload(Upload(kind="gpu-payload", body=payload))
    assert words(stored)["gpu1.sig"] == "pass"


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def manifest(**changes: Any) -> bytes:
    given = {
        "format": "zg-market evidence 1", "kind": "report", "now": 1, "onchain_signer": None,
        "acknowledged": None, "nonce": None, "accepts_nonce": True, "tls_fingerprint": None,
        "body_signature": None,
    }  # fmt: skip
    return json.dumps({**given, **changes}).encode()


@pytest.mark.parametrize(
    "upload",
    [
        Upload(),
        Upload(kind="quote", body=b"x"),
        Upload(body=b"x" * ((2 << 20) + 1)),
        Upload(body=b"{}"),
        Upload(body=b'{"text": "private words", "segments": [], "requests": []}'),
        Upload(body=b'{"quote": "To be, or not to be: that is the question I ask myself today."}'),
        Upload(body=b'{"quote": {"a": "' + b"0" * 80 + b'"}}'),
        Upload(body=b'{"model_attestations": ["private words"]}'),
        Upload(kind="gpu-payload", body=b'[{"evidence": "private words"}]'),
        Upload(kind="gpu-payload", body=b'["private words"]'),
        Upload(kind="gpu", body=b"private words"),
        Upload(kind="gpu", body=b"\x11\xe0" + bytes(90), chain_pem=b"private words"),
        Upload(kind="gpu", body=b"x", chain_pem=b"x" * (65 << 10)),
        Upload(body=b"x", nonce="zz"),
        Upload(body=b"x", nonce="00" * 34),
        Upload(body=b"x", onchain_signer="0x12"),
        Upload(body=b"x", body_signature="'; --"),
        Upload(bundle=b"not a zip"),
        Upload(bundle=b"PK" + b"\x00" * (5 << 20)),
        Upload(bundle=packed(manifest__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest(), report__json=b'{"text": "private"}')),
        Upload(bundle=packed(picture__png=b"\x89PNG", a__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest())),
        Upload(bundle=packed(manifest__json=manifest(now=1 << 50), report__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest(now=-5), report__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest(nonce="\x00"), report__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest(onchain_signer="me"), report__json=b"{}")),
        Upload(bundle=packed(manifest__json=manifest(), report__json=b" " * (3 << 20))),
        Upload(bundle=packed(manifest__json=manifest(), report__json=b"{}", nras__json=b"{}")),
    ],
)  # fmt: skip
def test_what_is_no_evidence_is_refused_in_words(upload: Upload) -> None:
    with pytest.raises(BadUpload) as refused:
        services.judge_upload(upload)
    assert str(refused.value)
    assert not Verification.objects.exists()
    assert not Document.objects.exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused_wherever_it_is_damaged(method: int) -> None:
    """Directories that point before the file, and methods that ask for gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("manifest.json", manifest())
        archive.writestr("report.json", b"{}" * 9)
    whole, refused = buffer.getvalue(), 0
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            bundle.read(damaged, VENDOR)
        except bundle.BadBundle:
            refused += 1
    assert refused > len(whole) // 2


@pytest.mark.parametrize(
    "files",
    [
        {"report__json": BROKEN, "challenge__json": b'{"request": 5}'},
        {"report__json": BROKEN, "collateral__json": b'{"a\\u0000": [1]}', "nras__json": b"[[]]"},
        {"report__json": evidence(), "challenge__json": b'{"random": "\\u0000", "request": "="}'},
        {"report__json": evidence(), "challenge__json": b'{"missing": "\\u0000"}'},
        {"report__json": evidence(), "jwks__json": b"{}", "nras__json": b"[1, {}]"},
        {"report__json": evidence(), "ocsp__json": b'["00", ""]', "rims/X__xml": b"<x/>"},
    ],
)
def test_a_hostile_bundle_is_a_verdict_and_no_error(files: dict[str, bytes]) -> None:
    stored = services.judge_upload(Upload(bundle=packed(manifest__json=manifest(), **files)))
    stored.refresh_from_db()
    assert stored.overall in ("fail", "dev-warn", "dev-partial")
    assert "\x00" not in json.dumps([stored.rows, stored.facts])


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: str, provider: str = PETRA) -> tuple[int, str]:
    output = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_service", provider, *arguments, stdout=output)
    assert isinstance(ended.value.code, int)
    return ended.value.code, output.getvalue()


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider(always(evidence())) as found:
        listed(found.url)
        yield found


def test_the_command_stores_its_run_and_exits_by_the_verdict(
    server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = command("--json")
    document = json.loads(text)
    stored = Verification.objects.get()
    assert (code, document["overall"], stored.trigger) == (2, "dev-pass", Trigger.COMMAND)
    assert document["questions"] == stored.questions
    assert document["checks"] == words(stored)
    assert str(stored.pk) in document["verification"]
    code, text = command()
    assert code == 2
    assert "broker: dev-pass" in text
    assert "tdx.tcb" in text
    server.answer = always(evidence(Machine(ADDRESS, fields={"td_attributes": DEBUG_ATTRIBUTES})))
    assert command("--json")[0] == 1
    server.answer = always(b"\x1b[31mno", status=404)
    code, text = command()
    assert code == 2
    assert "broker: not_provided" in text
    assert "\x1b" not in text
    # Without --kind it is what the provider offers.
    tuning(address(78), url=server.url)
    assert command("--json", provider=address(78))[0] == 2
    assert Verification.objects.get(provider=address(78)).kind == "fine-tuning"


def test_the_command_says_in_one_line_what_cannot_be_done(server: Provider) -> None:
    other = (PETRA, "--service-name", "inference-v9")
    for arguments in (("0x12",), (address(77),), other, (PETRA, "--kind", "fine-tuning")):
        with pytest.raises(CommandError) as refused:
            call_command("verify_service", *arguments)
        assert refused.value.returncode == 2
        assert "\n" not in str(refused.value)
        # What this provider does offer, where that is another.
        assert ("--kind inference" in str(refused.value)) is ("--kind" in arguments)
        assert ("--service-name inference-v1.0" in str(refused.value)) is (arguments == other)


# --- settings -------------------------------------------------------------------------------------


def test_anchors_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    assert Env({}).anchors("ANCHORS") == Env({"ANCHORS": "vendor"}).anchors("ANCHORS") == "vendor"
    for name, content in (("absent", None), ("empty", b""), ("wrong", b'{"intel": "%%"}')):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ImproperlyConfigured, match=r"^ANCHORS cannot be used: .+") as refused:
            Env({"ANCHORS": str(file)}).anchors("ANCHORS")
        assert "\n" not in str(refused.value)


def test_published_values_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(json.dumps({"format": references.FORMAT, "label": "ours", "source": "us"}))
    assert Env({}).references("LIST") == ""
    assert Env({"LIST": str(good)}).references("LIST") == str(good)
    for name, content in (("absent", None), ("empty", b""), ("wrong", b'{"boots": []}')):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ImproperlyConfigured, match=r"^LIST cannot be used: .+") as refused:
            Env({"LIST": str(file)}).references("LIST")
        assert "\n" not in str(refused.value)


def test_a_wallet_is_bounded(settings: Any) -> None:
    settings.SITE_WALLET_KEY = ""
    assert checks.wallet_is_bounded() == []
    settings.SITE_WALLET_KEY, settings.SITE_WALLET_DAILY = "11" * 32, 0
    assert [found.id for found in checks.wallet_is_bounded()] == ["attestation.W001"]
    settings.SITE_WALLET_DAILY, settings.SITE_WALLET_DAILY_PER_PROVIDER = 5, 6
    assert [found.id for found in checks.wallet_is_bounded()] == ["attestation.W002"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("PCS_URL", "intel"), ("KEY", "0x12"), ("KEY", "secret" * 20), ("LIST", "0x12"),
     ("AMOUNT", "-1"), ("AMOUNT", "1e9"), ("AMOUNT", "9" * 78), ("SUBSET", "broker,all"),
     ("PCS_URL", "https://a.example:port"), ("PCS_URL", "https://a.example,https://b.example"),
     ("ORIGIN", "https://a.example/site"), ("ORIGIN", "https://user@a.example"),
     ("HOSTS", "https://a.example"), ("HOSTS", "a.example:80"), ("HOSTS", "a.example,two words"),
     ("DATABASE", "postgresql://user:secret@host:port/name"), ("PRICE", "http://a.example/secret"),
     ("PRICE", "https://"), ("PRICE", "https://a b/"), ("HEADER", "secret"),
     ("HEADER", "a: b\nc: d")],
)  # fmt: skip
def test_wrong_values_stop_the_start_with_the_name_of_the_variable(name: str, value: str) -> None:
    env = Env({name: value})
    readers: dict[str, Callable[[], object]] = {
        "PCS_URL": lambda: env.base_url(name, "https://a.example"),
        "KEY": lambda: env.private_key(name),
        "LIST": lambda: env.addresses(name),
        "AMOUNT": lambda: env.neuron(name, 1),
        "SUBSET": lambda: env.subset(name, ("broker", "model")),
        "ORIGIN": lambda: env.origin(name, "https://a.example"),
        "HOSTS": lambda: env.hosts(name, ()),
        "DATABASE": lambda: database(value, name),
        "PRICE": lambda: env.price_url(name, insecure=False),
        "HEADER": lambda: env.header(name),
    }
    with pytest.raises(ImproperlyConfigured) as refused:
        readers[name]()
    assert name in str(refused.value)
    assert "secret" not in str(refused.value)


def test_right_values() -> None:
    env = Env({"A": "https://a.example/", "B": PETRA.lower(), "C": "model", "D": "0x" + "ab" * 32})
    assert env.base_url("A", "") == "https://a.example"
    assert env.base_url("Z", "https://z.example") == "https://z.example"
    assert env.addresses("B") == {PETRA}
    assert env.subset("C", ("broker", "model")) == {"model"}
    assert (env.subset("Z", ("broker",)), env.addresses("Z")) == (frozenset(), frozenset())
    assert (env.private_key("D"), env.private_key("Z")) == ("ab" * 32, "")
    assert env.neuron("Z", 10**17) == 10**17
    origins = ("https://a.example", "http://127.0.0.1:8000", "http://[::1]:8000")
    assert [Env({"A": f"{one}/"}).origin("A", "") for one in origins] == list(origins)
    names = ["a.example", ".a.example", "*", "127.0.0.1", "[::1]", "web"]
    assert Env({"H": ",".join(names)}).hosts("H", ()) == names
    url = "https://a.example/price?ids=a,b&x=1"
    assert Env({"A": url}).price_url("A", insecure=False) == url
    assert Env({"A": "http://[::1]:8"}).price_url("A", insecure=True) == "http://[::1]:8"
    assert Env({"A": "x-key: a b"}).header("A") == {"x-key": "a b"}
    assert (env.price_url("Z", insecure=False), env.header("Z")) == ("", {})


# --- the connection -------------------------------------------------------------------------------


def certificate(folder: Path) -> tuple[Path, bytes]:
    """A self-signed one for 127.0.0.1; returns the PEM file with its key, and its DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(minutes=5))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "tls.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file, made.public_bytes(serialization.Encoding.DER)


def test_the_certificate_of_the_connection_is_part_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, der = certificate(tmp_path)
    believing = ssl.create_default_context()
    believing.load_verify_locations(file)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", believing)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    expected = hashes.Hash(hashes.SHA256())
    expected.update(der)
    wanted = expected.finalize().hex()
    with provider(always(evidence())) as server:
        listed(server.url)
        assert run().tls_fingerprint == "", "no TLS, no fingerprint"
        server.socket = serving.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        type(listed(url, address(5))).objects.filter(provider=PETRA).update(url=url)
        assert run().tls_fingerprint == wanted

        async def twice() -> list[str]:
            found = []
            async with Client(Policy(allow_private=True)) as client:
                for _ in range(2):  # the second one goes over the same connection
                    async with client.open("GET", f"{url}/v1/quote") as answer:
                        await answer.read()
                        found.append(answer.tls_fingerprint)
            return found

        assert async_to_sync(twice)() == [wanted, wanted]


# --- again, by the engine of today ----------------------------------------------------------------


def test_stored_runs_are_judged_again_and_never_changed(server: Provider) -> None:
    def reverify() -> tuple[int, dict[str, Any]]:
        output = io.StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("reverify", "--json", stdout=output)
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(output.getvalue())

    stored = run()
    services.judge_upload(Upload(body=BROKEN))
    server.answer = always(b"", status=404)
    run()
    assert reverify() == (0, {"judged": 2, "changed": []})
    # As if an older engine had called one row otherwise.
    for row in stored.rows:
        if row["id"] == "tdx.debug":
            row["verdict"] = "warn"
    stored.overall = "dev-warn"
    stored.save()
    code, document = reverify()
    (found,) = document["changed"]
    assert (code, found["verification"]) == (1, str(stored.pk))
    assert (found["before"], found["now"]) == ("dev-warn", "dev-pass")
    assert found["rows"] == {"tdx.debug": ["warn", "pass"]}
    assert Verification.objects.get(pk=stored.pk).overall == "dev-warn"
    with pytest.raises(SystemExit):
        call_command("reverify", stdout=io.StringIO())
