"""Fine-tuning: what is signed and by whom, sealed keys, encrypted models, parameters, fees, rows;
against vectors made and accepted by the official SDK."""

from __future__ import annotations

import io
import json
import secrets
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import datasets, ecies, model_file, tuning
from protocol.digests import BadSignature, address_of_key, personal_digest, recover_key, sign
from protocol.ecies import CannotOpen
from protocol.model_file import BadModelFile
from protocol.tuning import BadParameters

FOLDER = Path(__file__).parents[1] / "vectors/provider"


def vectors(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def as_bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


SIGNED = vectors("ft_signatures")
MODELS = [c for c in vectors("model_encryption")["cases"] if "encrypted_file_hex" in c]
SEALED = vectors("ecies")
FEES = {f["name"]: f for f in vectors("fee_examples")["fees"]}
GOOD = {
    "neftune_noise_alpha": 5,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "learning_rate": 0.0002,
    "max_steps": 3,
}


# ---- signatures


def test_what_users_sign_is_what_the_sdk_signs() -> None:
    user = SIGNED["signer"]
    cases = [
        (tuning.task_hash(user, int(c["nonce"]), c["datasetHash"]), c["sdk_signature"], c)
        for c in SIGNED["create_task"]
    ]
    cancel, upload = SIGNED["cancel_task"], SIGNED["dataset_upload"]
    cases.append((tuning.cancel_hash(cancel["task_id"]), cancel["sdk_signature"], cancel))
    at = upload["timestamp_s"]
    cases.append((tuning.upload_hash(user.lower(), at), upload["sdk_signature"], upload))
    load = SIGNED["lora_download"]
    hash_ = tuning.download_hash(load["task_id"], load["timestamp_s"])
    cases.append((hash_, load["signature"], load))
    for hash_, signature, case in cases:
        assert "0x" + hash_.hex() == case["keccak256"]
        digest = tuning.signed_by(user, hash_, signature)
        assert "0x" + digest.hex() == case["eip191_digest_32_bytes"]
        key = "0x" + recover_key(digest, signature).hex()
        assert key == SIGNED["public_key_uncompressed"]
        with pytest.raises(BadSignature, match="address mismatch"):
            tuning.signed_by("0x" + "11" * 20, hash_, signature)
        with pytest.raises(BadSignature):
            tuning.signed_by(user, hash_[:-1] + bytes([hash_[-1] ^ 1]), signature)


def test_a_hash_that_the_sdk_shortened_still_counts() -> None:
    trap, user = SIGNED["leading_zero_trap"], SIGNED["signer"]
    hash_ = tuning.task_hash(user, int(trap["nonce"]), trap["datasetHash"])
    digest = tuning.signed_by(user, hash_, trap["sdk_signature"])
    assert "0x" + digest.hex() == trap["eip191_digest_as_sdk_signs"]
    assert digest != personal_digest(hash_)
    key = recover_key(digest, trap["sdk_signature"])
    assert "0x" + key.hex() == SIGNED["public_key_uncompressed"]


def test_timestamps_count_for_five_minutes() -> None:
    now = 1_000_000.5
    assert [tuning.timely(int(now) + d, now) for d in (-301, -299, 0, 60, 61)] == [
        *(False, True, True, True, False)
    ]


# ---- sealed keys


@pytest.mark.parametrize("case", SEALED["vectors"], ids=lambda c: c["name"])
def test_sealing_and_opening_match_two_other_libraries(case: dict[str, Any]) -> None:
    sealed, plain = as_bytes(case["encrypted_secret"]), as_bytes(case["plaintext"])
    key = as_bytes(case["receiver_private_key"])
    assert ecies.unseal(sealed, key) == plain
    again = ecies.seal(
        plain,
        as_bytes(case["receiver_public_key_uncompressed"]),
        ephemeral=as_bytes(case["ephemeral_private_key"]),
        nonce=as_bytes(case["nonce16"]),
    )
    assert again == sealed
    for at in range(len(sealed)):
        with pytest.raises(CannotOpen):
            ecies.unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], key)
    with pytest.raises(CannotOpen):
        ecies.unseal(sealed, b"\x01" * 32)


@given(st.binary(max_size=200))
def test_garbage_does_not_open(raw: bytes) -> None:
    with pytest.raises(CannotOpen):
        ecies.unseal(raw, b"\x02" * 32)


# ---- encrypted models


def decrypted(raw: bytes, key: bytes, signer: str) -> bytes:
    return b"".join(model_file.decrypt(io.BytesIO(raw), len(raw), key=key, signer=signer))


def encrypted(plain: bytes, key: bytes, signer_key: bytes, nonce: bytes = b"") -> bytes:
    target = io.BytesIO()
    signer = partial(sign, private_key=signer_key)
    model_file.encrypt(io.BytesIO(plain), target, key=key, sign=signer, nonce=nonce)
    return target.getvalue()


@pytest.mark.parametrize("case", MODELS, ids=lambda c: c["name"])
def test_model_files_are_the_sdks_and_one_changed_byte_is_noticed(case: dict[str, Any]) -> None:
    raw, plain = as_bytes(case["encrypted_file_hex"]), as_bytes(case["plaintext_hex"])
    key, signer = as_bytes(case["aes_key"]), case["tee_signer"]
    assert decrypted(raw, key, signer) == plain
    nonce = as_bytes(case["first_nonce12"])
    assert encrypted(plain, key, as_bytes(case["tee_private_key"]), nonce) == raw
    assert model_file.signer_of(io.BytesIO(raw), len(raw)) == signer
    empty_nonce = range(65, 77) if not plain else ()  # nothing was encrypted with it
    for at in set(range(len(raw))) - set(empty_nonce):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(BadModelFile):
            decrypted(changed, key, signer)
    with pytest.raises(BadModelFile, match="not by the provider's signer"):
        decrypted(raw, key, address_of_key(b"\x05" * 32))
    for length in range(len(raw)):
        with pytest.raises(BadModelFile):
            decrypted(raw[:length], key, signer)


def test_nothing_is_decrypted_before_the_signature_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = encrypted(b"secret weights", b"\x01" * 32, b"\x02" * 32)

    def never(*given: object) -> None:
        raise AssertionError("decrypted too early")

    monkeypatch.setattr(model_file, "AESGCM", never)
    with pytest.raises(BadModelFile, match="not by the provider's signer"):
        decrypted(raw, b"\x01" * 32, address_of_key(b"\x03" * 32))


@settings(max_examples=25, deadline=None)
@given(size=st.integers(0, 200), chunk=st.integers(1, 40), first=st.integers(0, 2**96 - 1))
def test_chunks_of_any_size_and_counters_that_wrap(size: int, chunk: int, first: int) -> None:
    plain, key, signer_key = secrets.token_bytes(size), b"\x09" * 32, b"\x0a" * 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "CHUNK_BYTES", chunk)
        patch.setattr(model_file, "_SEALED_CHUNK", chunk + 16)
        raw = encrypted(plain, key, signer_key, first.to_bytes(12, "big"))
        assert len(raw) == 77 + size + 16 * -(-size // chunk)
        assert decrypted(raw, key, address_of_key(signer_key)) == plain


# ---- parameters, fees, names


def test_the_five_settings() -> None:
    found = tuning.parse_parameters(json.dumps(GOOD))
    assert found.learning_rate == Decimal("0.0002") and found.max_steps == 3
    assert tuning.parse_parameters(json.dumps({**GOOD, "max_steps": -1})).max_steps == -1


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ('"learning_rate": 2e-4', "learning_rate"),
        ('"learning_rate": 0.000009', "learning_rate"),
        ('"learning_rate": "0.0002"', "learning_rate"),
        ('"num_train_epochs": 11', "num_train_epochs"),
        ('"num_train_epochs": 1.0', "num_train_epochs"),
        ('"num_train_epochs": true', "num_train_epochs"),
        ('"per_device_train_batch_size": 0', "per_device_train_batch_size"),
        ('"neftune_noise_alpha": 10.01', "neftune_noise_alpha"),
        ('"neftune_noise_alpha": NaN', "neftune_noise_alpha"),
        ('"max_steps": 0', "max_steps"),
        ('"max_steps": -2', "max_steps"),
        ('"lora_rank": 8', "lora_rank"),
        ('"max_steps": null', "max_steps"),
    ],
)
def test_what_is_not_among_them_or_out_of_range(change: str, key: str) -> None:
    kept = {k: v for k, v in GOOD.items() if not change.startswith(f'"{k}"')}
    with pytest.raises(BadParameters) as caught:
        tuning.parse_parameters(json.dumps(kept)[:-1] + ", " + change + "}")
    assert set(caught.value.problems) == {key}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"max_steps":1,"max_steps":2}', "[" * 4000])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(BadParameters):
        tuning.parse_parameters(text)


@pytest.mark.parametrize("name", ["fine_tuning_docs_example", "fine_tuning_32b"])
def test_fees(name: str) -> None:
    given, wanted = FEES[name]["inputs"], int(FEES[name]["fee_neuron"])
    found = tuning.task_fee(
        tokens=given["tokens"],
        price=int(given["pricePerToken"]),
        epochs=given["epochs"],
        coefficient=given["coefficient"],
        storage_fee=int(given["storageFee"]),
    )
    assert found == wanted
    missed = FEES["fine_tuning_not_acknowledged_penalty"]
    assert tuning.penalty(25 * 10**15, 30) == int(missed["fee_neuron"])


@pytest.mark.parametrize(
    ("lock", "now", "wanted"),
    [
        (86_400, 100, (21_600, 43_200, False)),  # the network's lock time, and brokers as they come
        (86_400, 21_600, (43_200, 43_200, True)),
        (86_400, 99_999, (43_200, 43_200, True)),
        (3_600, 100, (1_800, 1_800, False)),  # shorter than any broker's own
        (3_600, 1_900, (1_800, 1_800, False)),
        (604_800, 30_000, (172_800, 172_800, True)),
    ],
)
def test_a_result_is_acknowledged_by_what_brokers_come_with(
    lock: int, now: int, wanted: tuple[int, int, bool]
) -> None:
    found = tuning.acknowledge_by(1_000_000, lock, 1_000_000 + now)
    assert (found.at - 1_000_000, found.latest - 1_000_000, found.late) == wanted


def test_adapter_names_are_the_sdks() -> None:
    name = tuning.adapter_name("Qwen2.5-0.5B-Instruct", "3f2b1c00-9d4e-4a6b-8c7d-112233445566")
    assert name == "ft-Qwen2-5-0-5B-Instruct-3f2b1c00-9d4"
    assert tuning.adapter_name("/a b/", "x") == "ft-a-b-x"


# ---- rows


def rows(*lines: bytes) -> tuple[list[datasets.Row], datasets.Report]:
    report = datasets.Report()
    return list(report.rows_of(lines)), report


def test_three_kinds_of_rows() -> None:
    found, report = rows(b'\xef\xbb\xbf{"instruction":"a","input":"b","output":"c"}\n', b"\n")
    assert (found[0].prompt, found[0].answer, report.kind) == ("a\nb", "c", "instruction")
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    found, report = rows(
        json.dumps({"messages": talk}).encode(), json.dumps({"text": "t"}).encode()
    )
    assert [r.answer for r in found] == ["r"]
    assert [(p.line, p.text) for p in report.problems] == [
        (2, "a row of the kind text in a file of messages rows")
    ]
    twice = b'{"text":"same"}'
    assert rows(twice, twice)[1].duplicates == 1
    # The longest line that there may be, with its newline.
    assert rows(b'{"text":"' + b"x" * (datasets.MAX_LINE_BYTES - 11) + b'"}\n')[1].rows == 1
    assert rows(b"", b" \n")[1].problems == [datasets.Problem(0, "the file holds no rows")]


def test_repeats_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MOST_SEEN", 2)
    many = [b'{"text":"%d"}' % (n % 4) for n in range(12)]
    found, report = rows(*many)
    assert len(found) == report.rows == 12 and len(report._seen) == 2
    assert report.duplicates == 4  # two of the four, in each of two more rounds


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not UTF-8 at byte 1"),
        (b"[]", "expected a JSON object"),
        (b'{"a":1}', "expected instruction"),
        (b'{"instruction":"a","output":" "}', "output: is empty"),
        (b'{"instruction":"a","input":1,"output":"b"}', "input: expected a text"),
        (b'{"messages":[]}', "expected a list"),
        (b'{"messages":[{"role":"user","content":"q"}]}', "not the assistant's"),
        (b'{"messages":[{"role":"assistant","content":"q"}]}', "nobody is the user"),
        (b'{"messages":[{"role":"robot","content":"q"}]}', "the 1. has no known role"),
        (b'{"text":"\\ud800"}', "lone surrogate"),
        (b'{"instruction":"a","input":"\\ud800","output":"b"}', "input: holds half a character"),
        (b'{"instruction":"a","input":null,"output":"b"}', "input: expected a text"),
        (b'{"text":"a","score":NaN}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"text":"' + b"x" * 2**20 + b'"}', "longer than 1 MiB"),
    ],
)
def test_lines_that_will_not_do(line: bytes, words: str) -> None:
    found, report = rows(line, b'{"text":"good"}')
    assert len(found) == 1 and report.problem_count == 1
    assert report.problems[0].line == 1 and words in report.problems[0].text


@given(st.binary(max_size=300))
def test_any_bytes_are_a_row_or_a_problem(raw: bytes) -> None:
    found, report = rows(raw)
    assert len(found) + report.problem_count == 1
