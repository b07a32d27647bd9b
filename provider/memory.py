"""How the C library keeps memory: large bodies come and go, and should go."""

from __future__ import annotations

import ctypes
import logging

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGE_BYTES = 1024 * 1024

log = logging.getLogger("provider.memory")


def give_back() -> None:
    """Have freed blocks of a MiB and more returned to the system at once.

    glibc raises the size from which it does so with each large block that is freed, up to 32 MiB;
    after the first upload, bodies would stay behind in the heaps of several threads. Setting the
    size once ends this. Other C libraries do not have the setting, nor the habit.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for setting, size in ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES)):
        if not mallopt(setting, size):
            log.debug("mallopt(%d) is not known here", setting)
