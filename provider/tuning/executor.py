"""What trains: a program of its own, told what to do by a folder.

It is started as `COMMAND count FOLDER` and `COMMAND train FOLDER`. The folder holds `dataset` and
`task.json` (`model`, `modelHash`, `parameters`: the five settings as the user wrote them). `count`
writes `tokens.json`, `{"tokens": n}`, the tokens of one epoch; `train` fills `output_model/`. What
else they leave there goes with the task. Every line either prints is a line of the task's public
log; `WARNING ` or `ERROR ` before it is its level. Exit code 0 means done.

The program gets none of our secrets, and ends with us, with the task, and at its time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from provider.moments import iso
from provider.tuning.options import Model
from provider.tuning.tasks import Task

MAX_LOG_BYTES = 2 * 1024 * 1024
MAX_LINE_CHARS = 2000
COUNT_SECONDS = 300
MAX_TOKENS = 2**40
OUTPUT = "output_model"
_PASSED_ON = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES")
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR)[ :]+")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ExecutorFailed(Exception):
    """The program did not do it; the text is for the task's log."""


class TaskLog:
    """A task's public log: lines of time, level and text, at most MAX_LOG_BYTES of them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def info(self, text: str) -> None:
        self.write("INFO", text)

    def warning(self, text: str) -> None:
        self.write("WARNING", text)

    def error(self, text: str) -> None:
        self.write("ERROR", text)

    def write(self, level: str, text: str) -> None:
        """One line, however many the text has; nothing once the log is full."""
        clean = _UNPRINTABLE.sub("", " ".join(text.splitlines()))[:MAX_LINE_CHARS]
        line = f"{iso(time.time())} {level} {clean}\n".encode("utf-8", "replace")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            left = MAX_LOG_BYTES - file.tell()
            if left > 0:
                file.write(line if len(line) <= left else b"(the log is full)\n")

    def said(self, line: str) -> None:
        """A line of the executor's, at the level it begins with."""
        match = _LEVEL.match(line)
        self.write(match[1] if match else "INFO", line[match.end() :] if match else line)

    def read(self) -> bytes:
        """All of it."""
        return self._path.read_bytes() if self._path.exists() else b""


def prepare(folder: Path, task: Task) -> None:
    """Write `task.json`; the dataset is there already."""
    document = {"model": task.model, "modelHash": task.model_hash, "parameters": task.parameters}
    (folder / "task.json").write_text(json.dumps(document))


async def count_tokens(model: Model, folder: Path, log: TaskLog) -> int:
    """Tokens of one epoch of the dataset. Raises ExecutorFailed."""
    result = folder / "tokens.json"
    result.unlink(missing_ok=True)
    await _run([*model.command, "count", str(folder)], log, COUNT_SECONDS)
    try:
        tokens = json.loads(result.read_text())["tokens"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExecutorFailed("the executor did not say how many tokens there are") from error
    if type(tokens) is not int or not 0 < tokens <= MAX_TOKENS:
        raise ExecutorFailed(f"the dataset has {tokens!r:.40} tokens")
    return tokens


async def train(model: Model, folder: Path, log: TaskLog, seconds: float) -> None:
    """Train, from the beginning, until `output_model` is complete. Raises ExecutorFailed."""
    output = folder / OUTPUT
    await asyncio.to_thread(shutil.rmtree, output, True)
    output.mkdir()
    await _run([*model.command, "train", str(folder)], log, seconds)
    if not any(output.iterdir()):
        raise ExecutorFailed("the executor trained nothing")


async def _run(command: Sequence[str], log: TaskLog, seconds: float) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            start_new_session=True,
            preexec_fn=partial(_die_with, os.getpid()),
            limit=64 * 1024,
        )
    except OSError as error:
        raise ExecutorFailed(f"the executor cannot be started ({error.strerror})") from error
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            await _copy(process.stdout, log)
            code = await process.wait()
    except TimeoutError as error:
        raise ExecutorFailed(f"stopped after {seconds:.0f} seconds") from error
    finally:
        # What it started itself goes as well.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())
    if code:
        raise ExecutorFailed(f"the executor ended with code {code}")


async def _copy(source: asyncio.StreamReader, log: TaskLog) -> None:
    while True:
        try:
            line = await source.readline()
        except ValueError:  # longer than the reader's limit: what there is of it was dropped
            log.warning("(a line was too long)")
            continue
        if not line:
            return
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            log.said(text)


def _die_with(broker: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != broker:  # it has ended already: nobody is told
        os._exit(128 + signal.SIGKILL)
