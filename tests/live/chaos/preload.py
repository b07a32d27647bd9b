"""Loaded once by the fork server: everything a follower imports, no thread, no connection."""

from __future__ import annotations

import django

django.setup()

import channels_redis.pubsub  # noqa: E402, F401  (what the follower would import at first use)
import psycopg  # noqa: E402, F401

import ledger.management.commands.follow  # noqa: E402
import ledger.services  # noqa: E402, F401
import tests.live.chaos.child  # noqa: E402, F401
