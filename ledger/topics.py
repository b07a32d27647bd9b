"""What open pages can listen to (`/ws/live`), and how the follower tells them.

One Channels group, `live`. Each message is
`{"type": "live.message", "topic": TOPIC, …}` with one of these topics:

| topic    | sent                                | fields                                        |
|----------|-------------------------------------|-----------------------------------------------|
| `ledger` | after a block's rows became visible | `block`, `final_block`, `users`, `providers`, |
|          |                                     | `listings`                                    |

`users` and `providers` are the EIP-55 addresses whose rows changed, `listings` those providers
whose services did, at most `MAX_ADDRESSES` of each; `more` is true when some were left out (a page
then refreshes in any case). Messages carry no facts: a page that hears one asks the server again. A
lost message costs one poll interval.

A page may send one message of its own, first: `{"block", "providers", "users"}`, the block that it
shows and the EIP-55 addresses of its rows (200 of each at most); a page of every listing adds
`"listings": true`. Where rows of these changed after that block, it is answered at once with a
`ledger` message about them: nothing that happens between the rendering of a page and its socket is
missed. Anything else closes the socket (4400).

A socket is closed after an hour (4408: come back), and where an address or everybody together has
too many (4429: wait).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from net import layer

GROUP = "live"
LEDGER = "ledger"
MAX_ADDRESSES = 200


def ledger_message(
    block: int,
    final_block: int,
    users: Collection[str],
    providers: Collection[str],
    listings: Collection[str] = (),
) -> dict[str, Any]:
    """A message of topic `ledger`."""
    return {
        "topic": LEDGER,
        "block": block,
        "final_block": final_block,
        "users": sorted(users)[:MAX_ADDRESSES],
        "providers": sorted(providers)[:MAX_ADDRESSES],
        "listings": sorted(listings)[:MAX_ADDRESSES],
        "more": max(len(users), len(providers), len(listings)) > MAX_ADDRESSES,
    }


def publish_ledger(
    block: int,
    final_block: int,
    users: Collection[str],
    providers: Collection[str],
    listings: Collection[str] = (),
) -> None:
    """Tell open pages that rows up to `block` are visible; never fails the follower."""
    said = ledger_message(block, final_block, users, providers, listings)
    layer.tell(GROUP, "live.message", **said)
