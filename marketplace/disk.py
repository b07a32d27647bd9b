"""Room on the disk of the site: less than a tenth is told to its host and to whoever looks.

That is the disk of this web process. PostgreSQL's is the same one in the compose file and on one
machine; elsewhere only its own machine can see it, and we see how large the database is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

LOW_PERCENT = 10


@dataclass(frozen=True)
class DiskSpace:
    """Bytes of a disk."""

    free: int
    total: int

    @property
    def percent(self) -> int:
        """Of the disk that is free, whole percents."""
        return self.free * 100 // self.total if self.total else 0

    @property
    def low(self) -> bool:
        return self.percent < LOW_PERCENT


def space(folder: Path | None = None) -> DiskSpace:
    """Of the disk that `folder` is on, or else the site's own."""
    found = shutil.disk_usage(folder or settings.BASE_DIR)
    return DiskSpace(found.free, found.total)
