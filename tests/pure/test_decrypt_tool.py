"""The tool that people run on their own machine: every vector opens, and what was touched does not,
without a byte written."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from protocol import ecies

TOOL = Path(__file__).resolve().parent.parent.parent / "static/tools/zg-decrypt.py"
WALLET = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")


@pytest.fixture(scope="module")
def cases(shared: Path) -> list[dict[str, Any]]:
    found = json.loads((shared / "vectors/provider/model_encryption.json").read_text())["cases"]
    return [case for case in found if "encrypted_file_hex" in case]


Done = subprocess.CompletedProcess[str]


def run(
    folder: Path,
    raw: bytes,
    case: dict[str, Any],
    wallet: bytes = WALLET,
    tool: Callable[[Path, list[str], str], Done] | None = None,
    **over: str,
) -> Done:
    (folder / "in.bin").write_bytes(raw)
    sealed = ecies.seal(bytes.fromhex(case["aes_key"][2:]), ecies.public_key_of(WALLET))
    given = {"secret": sealed.hex(), "signer": case["tee_signer"], **over}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    options += ["--file", "in.bin", "--out", "model.zip"]
    return (tool or here)(folder, options, wallet.hex())


def process(folder: Path, options: list[str], key: str) -> Done:
    """As people run it."""
    return subprocess.run(
        [sys.executable, TOOL, *options],
        cwd=folder,
        env={"ZG_PRIVATE_KEY": key, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def here(folder: Path, options: list[str], key: str) -> Done:
    """The same without importing its libraries anew."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("ZG_PRIVATE_KEY", key)
        patch.setattr(sys, "argv", [str(TOOL), *options])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name="__main__")
    code = int(end.value.code or 0)
    return subprocess.CompletedProcess(options, code, out.getvalue(), err.getvalue())


def test_every_vector_opens(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    for case in cases:
        folder = tmp_path / case["name"]
        folder.mkdir()
        tool = process if case is cases[0] else here
        done = run(folder, bytes.fromhex(case["encrypted_file_hex"][2:]), case, tool=tool)
        assert done.returncode == 0, done.stderr
        assert (folder / "model.zip").read_bytes().hex() == case["plaintext_hex"][2:]
        assert (folder / "model.zip").stat().st_mode & 0o077 == 0
        assert "offline" in done.stdout


@pytest.mark.parametrize(
    ("at", "why"),
    [(0, "signed by|malformed"), (64, "signed by|malformed"), (70, "altered"), (80, "altered")],
)
def test_one_changed_byte_writes_nothing(
    cases: list[dict[str, Any]], tmp_path: Path, at: int, why: str
) -> None:
    raw = bytearray.fromhex(cases[0]["encrypted_file_hex"][2:])
    raw[at] ^= 1
    done = run(tmp_path, bytes(raw), cases[0])
    assert done.returncode == 1 and any(part in done.stderr for part in why.split("|"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.bin"]


def test_a_changed_tag_another_signer_and_another_wallet(
    cases: list[dict[str, Any]], tmp_path: Path
) -> None:
    case = cases[0]
    raw = bytes.fromhex(case["encrypted_file_hex"][2:])
    stranger = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    tried = [
        (run(tmp_path, raw[:-1] + bytes([raw[-1] ^ 1]), case), "signed by"),
        (run(tmp_path, raw, case, signer=stranger), "signed by"),
        (run(tmp_path, raw, case, wallet=b"\x01" * 32), "another one"),
        (run(tmp_path, raw[:70], case), "too short"),
        (run(tmp_path, raw, case, secret="00"), "malformed"),
        (run(tmp_path, raw, case, secret="no hex"), "STOPPED: non-hex"),
    ]
    for done, why in tried:
        assert done.returncode == 1 and why in done.stderr
        assert "Nothing was written" in done.stderr
    assert not (tmp_path / "model.zip").exists()
    (tmp_path / "model.zip").write_text("mine")
    done = run(tmp_path, raw, case, tool=process)
    assert done.returncode == 1 and "exists already" in done.stderr
    assert (tmp_path / "model.zip").read_text() == "mine"


@pytest.mark.parametrize(
    ("answer", "over", "why"),
    [
        ('{"result":"0x"}', {}, "at --contract there is no fine-tuning contract"),
        ('{"result":"0x' + "00" * 64 + '"}', {}, "at --contract there is no fine-tuning contract"),
        ("[]", {}, "does not know this"),
        ('{"result":null,"error":"no"}', {}, "does not know this"),
        ("", {"provider": "0x22"}, "--provider is no address"),
        ("[" * 5000, {}, "the node at --rpc does not answer"),
        ("", {"rpc": "http://127.0.0.1:port/"}, "the node at --rpc does not answer"),
    ],
)
def test_what_is_typed_wrong_stops_it_in_a_sentence(
    tmp_path: Path, answer: str, over: dict[str, str], why: str
) -> None:
    (tmp_path / "in.bin").write_bytes(bytes(200))
    given = dict.fromkeys(("contract", "provider", "user"), "0x" + "11" * 20)
    given |= {"task": "a", "rpc": f"data:,{answer}", "file": "in.bin", "out": "model.zip", **over}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    done = here(tmp_path, options, "")
    assert done.returncode == 1 and done.stderr.startswith("STOPPED: ") and why in done.stderr


def typed(prompt: str = "") -> str:
    return "a password"


def nothing(prompt: str = "") -> str:
    raise EOFError


def stopped(prompt: str = "") -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("keystore", "at_the_keyboard", "code", "why"),
    [
        ("[]", typed, 1, "STOPPED: keystore.json is no keystore of a wallet. Nothing"),
        ('{"version": 1, "crypto": {}}', typed, 1, "is no keystore of a wallet"),
        ('{"version": 3, "crypto": {"kdf": "md5"}}', typed, 1, "is no keystore of a wallet"),
        ("0x" + WALLET.hex(), typed, 1, "STOPPED: the keystore cannot be opened"),
        ("{}", nothing, 1, "STOPPED: nobody typed a key. Nothing was written"),
        ("{}", stopped, 130, "STOPPED. Nothing was written"),
    ],
)
def test_a_file_that_is_no_keystore_stops_it_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keystore: str,
    at_the_keyboard: Callable[[str], str],
    code: int,
    why: str,
) -> None:
    (tmp_path / "in.bin").write_bytes(bytes(200))
    (tmp_path / "keystore.json").write_text(keystore)
    monkeypatch.setattr("getpass.getpass", at_the_keyboard)
    options = ["--file", "in.bin", "--out", "m.zip", "--secret", "00", "--signer", "0x" + "11" * 20]
    done = here(tmp_path, [*options, "--keystore", "keystore.json"], "")
    assert done.returncode == code and why in done.stderr
    assert WALLET.hex() not in done.stderr


def test_it_writes_into_no_file_that_is_there(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    half = tmp_path / "model.zip.part"
    half.write_text("somebody else's, who may read it")
    done = run(tmp_path, bytes.fromhex(cases[0]["encrypted_file_hex"][2:]), cases[0])
    assert done.returncode == 1 and "model.zip.part is there already" in done.stderr
    assert half.read_text() == "somebody else's, who may read it"
