"""`/ws/live`: tells open pages that there is something new to ask for. Messages carry no facts."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ledger import topics

#: Close code for a page that talks: this socket only listens.
NOT_UNDERSTOOD = 4400


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Relays the follower's messages (`ledger.topics`); everything in them is public."""

    groups = (topics.GROUP,)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.close(NOT_UNDERSTOOD)

    async def live_message(self, event: dict[str, Any]) -> None:
        await self.send_json({key: value for key, value in event.items() if key != "type"})
