"""Loaded once by the fork server: everything a follower imports, no thread, no connection."""

from __future__ import annotations

import gc

import django

django.setup()

import channels_redis.pubsub  # noqa: E402, F401  (what the follower would import at first use)
import psycopg  # noqa: E402, F401

import ledger.management.commands.follow  # noqa: E402
import ledger.services  # noqa: E402, F401
import tests.live.chaos.child  # noqa: E402, F401
from protocol import abi  # noqa: E402

for contract in abi.CONTRACTS:
    abi.functions(contract)
gc.freeze()  # else a child copies all of it when it looks for garbage
