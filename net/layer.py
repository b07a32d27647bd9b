"""The channel layer, as somebody tells open pages through it who must go on without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

#: What a layer raises that cannot be reached, or is closed.
LOST = (OSError, RuntimeError, RedisError)
#: After which a task that is not over is cancelled once more, seconds.
CANCEL_AGAIN = 3.0


def tell(group: str, kind: str, **said: Any) -> bool:
    """Send a message of type `kind` to the sockets of a group; False where the layer took none.
    Nothing may depend on its coming: pages ask by themselves, too."""
    try:
        async_to_sync(get_channel_layer().group_send)(group, {"type": kind, **said})
    except LOST as error:
        log.warning("open pages were not told", extra={"kind": kind, "error": str(error)})
        return False
    return True


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they are over, however they end. A layer that is still connecting swallows
    that whoever hears of it was cancelled, who then waited for ever and held a socket's place."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
