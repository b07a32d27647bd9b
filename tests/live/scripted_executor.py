"""An executor that does as the dataset's first row says: `ok`, `slow`, `crash`, `nothing`,
`endless`, `large`, `wait PATH` (until there is such a file). It trains nothing; what it delivers is
made of the dataset."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    command, folder = sys.argv[1], Path(sys.argv[2])
    task = json.loads((folder / "task.json").read_text())
    lines = (folder / "dataset").read_text().splitlines()
    behave, *more = json.loads(lines[0])["text"].split()
    print(f"{command} {behave} with {task['model']}", flush=True)
    if behave == "slow":
        time.sleep(1)
    if command == "count":
        (folder / "tokens.json").write_text(json.dumps({"tokens": 1000 * len(lines)}))
        return 0
    if behave == "crash":
        print("ERROR out of memory")
        return 3
    if behave == "endless":
        time.sleep(600)
    while behave == "wait" and not Path(more[0]).exists():
        time.sleep(0.1)
    if behave != "nothing":
        (folder / "output_model" / "adapter_config.json").write_text(task["parameters"])
        weights = os.urandom(3 << 20) if behave == "large" else b"\1\2\3" * 1000
        (folder / "output_model" / "weights").write_bytes(weights)
    print("{'loss': 1.5, 'epoch': 1.0}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
