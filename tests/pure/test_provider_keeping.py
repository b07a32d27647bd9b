"""What an operator keeps: the file and its mistakes, keys, logs, and a store older than the
broker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from protocol import tuning
from provider import adapters, checks, config, keyfiles, logs, schema
from provider.amounts import in_0g
from provider.config import MachineChoice
from provider.debts import Debts
from provider.errors import ConfigError
from provider.operating import LogChoice
from provider.receipts import Receipts
from provider.server import background
from provider.store import Charge, Receipt, Store
from provider.switch import Switch
from provider.tee.dev import DevTee
from provider.tuning import executor, work
from provider.tuning.files import Folders
from provider.tuning.serve import clean_up
from provider.tuning.tasks import Task, Tasks

KEY = "0x" + "11" * 32
USER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
FILE = f"""\
service:
  model: m
  input_price: 1
  output_price: 2

upstream:
  url: http://127.0.0.1:1/v1
chain:
  rpc: http://127.0.0.1:2
  inference: "{USER}"
wallet_key: "{KEY}"
state: state
"""


def load(folder: Path, text: str) -> config.Config:
    path = folder / "provider.yaml"
    path.write_text(text)
    return config.load(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("output_price: 2", "output_price: two", "4: service.output_price: expected a whole"),
        ("output_price: 2", "out_price: 2", "1: service.output_price: expected a whole number"),
        (
            "model: m",
            "model: m\n  modle: x",
            "3: service.modle: unknown setting (did you mean model",
        ),
        ("state: state", "limits: [1]\nstate: s", "12: limits: expected a mapping"),
        (
            "state: state",
            "state: s\nsettlement:\n  at_shutdown: maybe",
            "14: settlement.at_shutdown",
        ),
        ("state: state", "state: s\nservice: {}", "13: service: is given twice"),
        (
            "state: state",
            "state: s\nadmin:\n  port: 1\n  host: 0.0.0.0",
            "15: admin.host: expected a",
        ),
        (
            "state: state",
            "state: s\nadmin: {port: 1, token: short}",
            "13: admin.token: expected at",
        ),
        ("state: state", "state: s\nlog: {level: loud}", "13: log.level: expected one of warning"),
        (
            "state: state",
            "state: s\nsettlement:\n  urgent_gas_price: 5",
            "14: settlement.urgent_gas_price: needs max_gas_price",
        ),
        (f'wallet_key: "{KEY}"', "wallet_key_file: nowhere", "11: wallet_key_file: cannot be read"),
        ("state: state", "state: &a [*a]", " is not valid YAML"),
        ("state: state", "state: [", "13: is not valid YAML"),
    ],
)
def test_a_mistake_is_found_in_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as problem:
        load(tmp_path, FILE.replace(old, new))
    text = str(problem.value)
    assert text.startswith(f"{tmp_path / 'provider.yaml'}:{said}"), text
    assert "\n" not in text and KEY[2:] not in text


# ---- keys ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keystore() -> str:
    """A real key file, with few rounds to be quick."""
    return json.dumps(
        Account.encrypt(bytes.fromhex(KEY[2:]), "correct horse", kdf="pbkdf2", iterations=2)
    )


def test_a_key_may_be_encrypted(
    tmp_path: Path, keystore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wallet.json").write_text(keystore)
    (tmp_path / "password").write_text("correct horse\n")
    text = FILE.replace(f'wallet_key: "{KEY}"', "wallet_key_file: wallet.json")
    read = load(tmp_path, text + "wallet_key_password_file: password\n")
    assert read.provider == USER
    assert [place.key for place in read.secrets] == ["wallet_key_file", "wallet_key_password_file"]
    monkeypatch.setenv("WALLET_PASSWORD", "correct horse")
    assert load(tmp_path, text + "wallet_key_password_env: WALLET_PASSWORD\n").provider == USER
    # At a terminal one is asked, elsewhere one is told.
    with pytest.raises(ConfigError, match="encrypted: give wallet_key_password_file"):
        load(tmp_path, text)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "correct horse")
    assert load(tmp_path, text).provider == USER
    for wrong, said in (
        (keystore, "wallet_key: the password is wrong"),
        ('{"version": 3}', "not a key file of version 3"),
        ('{"version": 1, "crypto": {}}', "not a key file of version 3"),
        ("{}", "not a key file of version 3"),
        ("{", "not a key file of version 3"),
    ):
        (tmp_path / "wallet.json").write_text(wrong)
        with pytest.raises(ConfigError, match=said) as problem:
            load(tmp_path, text + "wallet_key_password: battery staple\n")
        assert "staple" not in str(problem.value)


@pytest.mark.parametrize(
    ("mode", "who"), [(0o600, ""), (0o400, ""), (0o640, "its group"), (0o604, "everybody")]
)
def test_who_may_read_a_secret(tmp_path: Path, mode: int, who: str) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(mode)
    assert keyfiles.exposure(path) == who


# ---- logs ----------------------------------------------------------------------------------


@pytest.fixture
def quiet() -> Any:
    """Logging as it was before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.usefixtures("quiet")
def test_a_log_is_put_aside_by_size_and_a_stranger_writes_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "broker.log"
    logs.set_up(LogChoice(file=path, max_bytes=400, files=2))
    for number in range(20):
        logging.getLogger("x").warning("line %d of %s", number, "a\n2020 ERROR \x1b[1A forged")
    assert sorted(p.name for p in path.parent.iterdir()) == [
        f"broker.log{x}" for x in ("", ".1", ".2")
    ]
    assert all(" WARNING x line " in line for line in path.read_text().splitlines())
    assert r"of a\n2020 ERROR \x1b[1A forged" in path.read_text()  # nor moves a terminal's cursor
    logs.set_up(LogChoice(file=path, format="json", level="error"), verbose=True)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("y").exception("it failed")
    found = json.loads(path.read_text().splitlines()[-1])
    assert (found["level"], found["logger"], found["message"]) == ("error", "y", "it failed")
    assert "ValueError: two\nlines" in found["exception"] and found["at"].endswith("Z")


@pytest.mark.usefixtures("quiet")
def test_a_log_follows_logrotate(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    logs.set_up(LogChoice(file=path, max_bytes=0))
    logging.warning("first")
    path.rename(tmp_path / "old")
    logging.warning("second")
    assert "second" in path.read_text() and "first" in (tmp_path / "old").read_text()


@pytest.mark.parametrize("spoilt", ["encrypted", "unknown method", "garbage", "cut off"])
def test_an_adapter_that_cannot_be_unpacked_is_said_to_be_bad(tmp_path: Path, spoilt: str) -> None:
    """Anything else would end the work on adapters for good."""
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("output_model/weights", b"w" * 5000)
    raw = bytearray(packed.read_bytes())
    central, data = raw.index(b"PK\1\2"), raw.index(b"weights") + 7
    if spoilt == "encrypted":
        raw[6] |= 1
        raw[central + 8] |= 1
    elif spoilt == "unknown method":
        raw[8] = raw[central + 10] = 99
    elif spoilt == "garbage":
        raw[data : data + 4] = b"\xff" * 4
    else:
        raw[central + 20] = 2  # bytes of packed data
    packed.write_bytes(raw)
    with pytest.raises(zipfile.BadZipFile):
        adapters.unpack(packed, tmp_path / "out")


def test_a_result_of_any_size_is_packed_and_only_plain_names_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file over 2 GiB needs another form of header; such a result would hold up all others."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4000)
    output, packed, target = tmp_path / "output_model", tmp_path / "a.zip", tmp_path / "out"
    output.mkdir()
    (output / "weights").write_bytes(random.Random(1).randbytes(5000))
    work.pack(output, packed)
    with zipfile.ZipFile(packed, "a") as archive:
        for name in (".", "..", ".hidden"):
            archive.writestr(f"output_model/{name}", b"x")
    adapters.unpack(packed, target)
    assert [path.name for path in target.iterdir()] == ["weights"]


@pytest.mark.parametrize(
    ("neuron", "said"), [(0, "0"), (15 * 10**17, "1.5"), (10**30 + 1, f"{10**12}.{1:018}")]
)
def test_amounts_are_exact_however_large(neuron: int, said: str) -> None:
    assert in_0g(neuron) == said


async def test_work_that_ends_by_itself_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise RuntimeError("never to be seen otherwise")

    async with background(broken(), asyncio.sleep(3600)):
        for _ in range(5):
            await asyncio.sleep(0)
    assert "never to be seen otherwise" in caplog.text and len(caplog.records) == 1


# ---- the store -----------------------------------------------------------------------------


async def test_what_is_being_written_down_is_waited_for(tmp_path: Path) -> None:
    """A broker that stops cancels its answers, and closes the store when they have ended."""
    store, debts = Store(tmp_path), Debts({})
    begun, go = threading.Event(), threading.Event()

    def write(charge: Charge, receipt: Receipt | None) -> None:
        begun.set()
        go.wait()
        store.record(charge, receipt)

    tee = DevTee(bytes.fromhex(KEY[2:]), bytes(32), MachineChoice())
    receipts = Receipts(store, debts, tee, Switch(store))
    answer = asyncio.create_task(receipts.record(Charge(USER, 7, bytes(32)), None, write=write))
    await asyncio.to_thread(begun.wait)
    answer.cancel()
    try:
        for _ in range(5):
            await asyncio.sleep(0)
        assert not answer.done()
    finally:
        go.set()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert store.owed() == {USER: 7} == debts.debtors()
    store.close()


def first_version(folder: Path) -> None:
    """A store as version 1 left it: a settled batch, a debt, an item under way."""
    with closing(sqlite3.connect(folder / "broker.sqlite3")) as db:
        db.executescript(schema.FIRST + "PRAGMA user_version = 1;")
        db.execute("INSERT INTO batch VALUES (1, 5, 6), (2, 7, NULL)")
        rest = (USER, USER, b"", b"")
        db.executemany(
            "INSERT INTO item (id, total_fee, nonce, settled, batch, user, provider, requests_hash,"
            " signature, since_block) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [(1, "10", "7", "10", 1, *rest), (2, "20", "8", None, 2, *rest)],
        )
        db.executemany(
            "INSERT INTO charge VALUES (?, ?, ?, x'00', 1, NULL, ?)",
            [(1, USER, "10", 1), (2, USER, "20", 2), (3, USER, "5", None)],
        )
        db.commit()


def test_an_older_store_keeps_its_debts(tmp_path: Path) -> None:
    first_version(tmp_path)
    for _ in range(2):  # and once more: nothing is done twice
        store = Store(tmp_path)
        assert store.owed() == {USER: 25}
        assert [batch.id for batch in store.open_batches()] == [2]
        assert store.mined_batches() == []  # what was closed then is final
        assert list(store.free_charges()) == [USER]
        store.close()
    # A broker of version 1 that ran in between resets the number, not the columns.
    with closing(sqlite3.connect(tmp_path / "broker.sqlite3")) as db:
        db.execute("PRAGMA user_version = 1")
    store = Store(tmp_path)
    store.record(Charge(USER, 1, b"\0" * 32), None)
    assert store.owed() == {USER: 26}
    store.close()


def task(*, nonce: int, created: float) -> Task:
    given: dict[str, Any] = {"id": "a", "user": "0x1", "created": created, "updated": created}
    given |= dict.fromkeys(("model", "model_hash", "dataset_hash", "parameters", "signature"), "")
    given |= {"nonce": nonce, "public_key": b"", "customised": False, "wait": False}
    return Task(**given, progress=tuning.INIT)


def test_a_task_sent_twice_is_taken_once_though_it_was_cancelled_meanwhile(tmp_path: Path) -> None:
    first = task(nonce=10**30, created=1.0)
    with closing(Store(tmp_path)) as store:
        tasks = Tasks(store)
        assert tasks.add(first, queue=2) == ""
        assert tasks.advance("a", tuning.CANCELLABLE, tuning.FAILED)
        assert tasks.add(replace(first, id="b"), queue=2).startswith("invalid nonce")
        assert tasks.add(replace(first, id="b", nonce=10**30 + 1), queue=2) == ""


def test_a_day_has_room_for_so_many_tasks_of_a_user_and_each_is_cleaned_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled ones cost nothing, and leave a row and a log."""
    monkeypatch.setattr("provider.tuning.tasks.TASKS_PER_DAY", 2)
    folders, now = Folders(tmp_path), time.time()
    with closing(Store(tmp_path)) as store:
        tasks = Tasks(store)
        first = task(nonce=1, created=now)
        for number in (1, 2):
            assert tasks.add(replace(first, id=str(number), nonce=number), queue=2) == ""
            assert tasks.advance(str(number), tuning.CANCELLABLE, tuning.FAILED)
        assert "at most 2" in tasks.add(replace(first, id="3", nonce=3), queue=2)
        assert tasks.add(replace(first, id="3", nonce=3, user="0x2"), queue=2) == ""
        left, under_way = folders.result("1"), folders.result("3")
        for path in (left, under_way):
            path.parent.mkdir()
            path.touch()
        before = clean_up(tasks, folders, 0.0, now + 60)
        assert not left.exists() and under_way.exists()
        left.touch()
        assert clean_up(tasks, folders, before, now + 61) == now + 61
        assert left.exists(), "what ended long ago is not gone through again"


def test_of_an_ended_task_nothing_readable_stays_but_its_log(tmp_path: Path) -> None:
    """Programs that train leave caches and checkpoints wherever they like."""
    folders = Folders(tmp_path)
    folder = folders.task("a")
    for name in ("dataset", "result.zip", "cache/tokens", "output_model/weights"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "latest").symlink_to(tmp_path)
    folders.log("a").info("trained")
    folders.result("a").touch()
    folders.drop_plaintext("a")
    assert {path.name for path in folder.iterdir()} == {"progress.log", "result.enc"}
    assert tmp_path.is_dir()
    folders.drop_plaintext("never made")


def test_a_program_does_not_begin_whose_broker_has_ended() -> None:
    """Nobody would end it any more, and the next broker has the task trained once again."""
    for broker, code in ((os.getpid(), 0), (-1, 137)):
        begin = partial(executor._die_with, broker)
        assert subprocess.run(["true"], preexec_fn=begin, check=False).returncode == code


async def test_a_state_folder_that_cannot_be_looked_into_is_a_finding(tmp_path: Path) -> None:
    """As somebody else's is, of a broker that runs as a user of its own."""
    path = tmp_path / "provider.yaml"
    path.write_text(FILE.replace("state: state", f"state: {'x' * 300}"))
    (found,) = await checks.look(path)
    assert found.state == "fail" and "state" in found.said and "File name too long" in found.said


def test_a_newer_store_is_refused_untouched(tmp_path: Path) -> None:
    first_version(tmp_path)
    with closing(sqlite3.connect(tmp_path / "broker.sqlite3")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match=r"newer broker \(version 99, this one knows 2\)"):
        Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "broker.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)


def test_a_failed_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_version(tmp_path)
    monkeypatch.setattr(schema, "SECOND", "CREATE TABLE note (x);\nnonsense;\n")
    with pytest.raises(sqlite3.Error):
        Store(tmp_path)
    monkeypatch.undo()
    store = Store(tmp_path)
    store.set_note("paused", "yes")
    assert (store.note("paused"), store.note("other")) == ("yes", "")
    store.close()


def test_the_file_of_the_tests_is_a_whole_one() -> None:
    assert yaml.safe_load(FILE)["service"]["output_price"] == 2
