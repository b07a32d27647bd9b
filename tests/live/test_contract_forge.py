"""The Solidity fuzz tests and invariants, run by forge on the checked-in bytecode."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
FORGE = CONTRACTS / "node_modules" / "@foundry-rs" / "forge-linux-amd64" / "bin" / "forge"
# One of each file: a suite that silently stops being found must not look like success.
EXPECTED = {
    "invariant_moneyAddsUp()",
    "testFuzz_followsTheModel(bytes)",
    "testFuzz_batch(uint256,uint256)",
    "testFuzz_ring(uint256,uint256)",
}


def test_every_solidity_test_passes(tmp_path: Path) -> None:
    assert FORGE.is_file(), "forge is missing: run `npm ci` in contracts/"
    done = subprocess.run(
        [FORGE, "test", "--json"],
        cwd=CONTRACTS,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # Compiler messages come first; the results are the last line.
    lines = done.stdout.strip().splitlines() or [done.stderr]
    assert lines[-1].startswith("{"), f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    suites: dict[str, dict[str, Any]] = json.loads(lines[-1])
    results = {
        name: result for suite in suites.values() for name, result in suite["test_results"].items()
    }
    failed = {name: r["reason"] for name, r in results.items() if r["status"] != "Success"}
    assert not failed
    assert set(results) >= EXPECTED
    assert done.returncode == 0, done.stderr[-2000:]
