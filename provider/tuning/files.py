"""Where the broker keeps what belongs to tasks, under its state folder.

Names are made of ids and hashes that were checked before, never of a stranger's text.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from provider.tuning.executor import TaskLog

DATASET_SECONDS = 86_400
_LOG, _RESULT = "progress.log", "result.enc"


class Folders:
    """The folders `tasks` and `datasets`."""

    def __init__(self, state: Path) -> None:
        self._tasks = state / "tasks"
        self._datasets = state / "datasets"
        for folder in (self._tasks, self._datasets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def task(self, id_: str) -> Path:
        """A task's own folder."""
        folder = self._tasks / id_
        folder.mkdir(exist_ok=True)
        return folder

    def log(self, id_: str) -> TaskLog:
        """A task's log."""
        return TaskLog(self._tasks / id_ / _LOG)

    def result(self, id_: str) -> Path:
        """The encrypted result."""
        return self._tasks / id_ / _RESULT

    def drop_plaintext(self, id_: str) -> None:
        """Only log and encrypted result stay, whatever the executor left beside its output."""
        folder = self._tasks / id_
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in (_LOG, _RESULT):
                path.unlink(missing_ok=True)

    def drop_all(self, id_: str) -> None:
        """Only the log stays."""
        self.result(id_).unlink(missing_ok=True)
        self.drop_plaintext(id_)

    # ---- uploads ---------------------------------------------------------------------------

    def incoming(self, name: str) -> Path:
        """Where an upload under way is written."""
        return self._datasets / f"{name}.incoming"

    def dataset(self, user: str, hash_: str) -> Path:
        """An uploaded dataset of a user (EIP-55), by its keccak256."""
        return self._datasets / user.lower() / hash_

    def waiting(self) -> int:
        """Bytes of everybody's uploaded datasets."""
        total = 0
        for path in self._datasets.glob("*/0x*"):
            with contextlib.suppress(FileNotFoundError):  # swept meanwhile
                total += path.stat().st_size
        return total

    def keep_dataset(self, incoming: Path, user: str, hash_: str, *, most: int) -> None:
        """Move a finished upload to its place; the oldest of the user's beyond `most` go."""
        target = self.dataset(user, hash_)
        target.parent.mkdir(exist_ok=True)
        incoming.rename(target)
        kept = sorted(target.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in kept[:-most]:
            path.unlink()

    def sweep(self) -> None:
        """Uploads that nobody used for a day go, and those that never ended."""
        before = time.time() - DATASET_SECONDS
        for path in [*self._datasets.glob("*/0x*"), *self._datasets.glob("*.incoming")]:
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
