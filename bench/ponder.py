"""Ponder (npm) on the same node, contracts and PostgreSQL: how quickly its history is in tables.

Its handlers (`bench/ponder_app`) keep balances, listings and a row per settlement, spending and
refund; ours keep more. The clock runs from the start of its historical sync to the end of its
historical indexing, as its own log says; starting Node is not counted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db import connection

from bench.workload import History
from protocol.abi import ARTIFACTS
from runner.processes import free_port

APP = Path(__file__).resolve().parent / "ponder_app"
FOLDER = APP.parent.parent / ".data" / "bench-ponder"
PACKAGES = ("ponder@1.0.0", "viem@2.57.1", "hono@4.13.19", "typescript@5.9.3")
STARTED, COMPLETED = "historical sync with", "Completed historical indexing"
LONGEST_SECONDS = 3_600


def rate(url: str, history: History, events: int) -> float:
    """Events per second."""
    _install()
    with connection.cursor() as cursor:  # what it fetched of this chain before does not count
        cursor.execute("DROP SCHEMA IF EXISTS ponder_sync CASCADE")
    port = free_port()
    environment = {
        **os.environ,
        "BENCH": json.dumps(_given(url, history)),
        "PONDER_TELEMETRY_DISABLED": "true",
        "CI": "1",
    }
    command = ["node", "node_modules/.bin/ponder", "start", "--log-format", "json"]
    command += ["--schema", f"ponder_{port}", "--port", str(port), "--hostname", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=FOLDER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            return events / _seconds(process)
        finally:
            process.terminate()


def _install() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copytree(APP, FOLDER, dirs_exist_ok=True)
    if (FOLDER / "node_modules" / "ponder").is_dir():
        return
    (FOLDER / "package.json").write_text('{"private": true, "type": "module"}\n')
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    subprocess.run(command, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL, timeout=600)


def _given(url: str, history: History) -> dict[str, Any]:
    """What bench/ponder_app/ponder.config.ts reads."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    return {
        "url": url,
        "ledger": history.ledger,
        "inference": history.inference,
        "last": history.last_block,
        "artifacts": str(ARTIFACTS),
        # node-postgres wants a host before the path as well.
        "database": f"postgresql://{parts.username}@localhost{parts.path}?host={host}",
    }


def _seconds(process: subprocess.Popen[bytes]) -> float:
    assert process.stdout is not None
    started, deadline = 0.0, time.monotonic() + LONGEST_SECONDS
    for line in process.stdout:
        text = line.decode(errors="replace")
        if STARTED in text:
            started = json.loads(text)["time"]
        elif started and COMPLETED in text:
            return float(json.loads(text)["time"] - started) / 1000
        if time.monotonic() > deadline:
            break
    raise RuntimeError("Ponder did not finish its history")
