"""Room on the disk of the site: when little is left, its host and whoever looks are told.

That is the disk of this web process. PostgreSQL's is the same one in the compose file and on one
machine; elsewhere only its own machine can see it, and we see how large the database is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

#: Little is both less than this part of the disk and less than this many bytes: a tenth of a large
#: disk lasts for long.
LOW_PERCENT = 10
LOW_BYTES = 10 << 30


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
        return self.percent < LOW_PERCENT and self.free < LOW_BYTES


def space(folder: Path | None = None) -> DiskSpace:
    """Of the disk that `folder` is on, or else the site's own."""
    found = shutil.disk_usage(folder or settings.BASE_DIR)
    return DiskSpace(found.free, found.total)
