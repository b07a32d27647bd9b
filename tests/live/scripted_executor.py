"""An executor that does as the dataset's first row says: `ok`, `slow`, `crash`, `nothing`,
`endless`. It trains nothing; what it delivers is made of the dataset."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> int:
    command, folder = sys.argv[1], Path(sys.argv[2])
    task = json.loads((folder / "task.json").read_text())
    lines = (folder / "dataset").read_text().splitlines()
    behave = json.loads(lines[0])["text"].split()[0]
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
    if behave != "nothing":
        (folder / "output_model" / "adapter_config.json").write_text(task["parameters"])
        (folder / "output_model" / "weights").write_bytes(b"\1\2\3" * 1000)
    print("{'loss': 1.5, 'epoch': 1.0}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
