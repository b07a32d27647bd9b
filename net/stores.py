"""How to reach Redis: one server by its URL, or the master that sentinels name.

    redis://[user:password@]host:6379/0     rediss://…     unix:///path/to/socket
    redis+sentinel://[user:password@]host:26379,host:26379/master-name/0[?sentinel_password=…]

Behind sentinels every connection asks them who the master is, so a fail-over needs no restart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.sentinel

# redis-py types everything but these.
_Sentinel: Any = redis.sentinel.Sentinel
_AsyncSentinel: Any = redis.asyncio.sentinel.Sentinel
_AsyncParser: Any = redis.asyncio.connection.DefaultParser
SENTINEL = "redis+sentinel"
#: For what a page waits for: a server that takes connections and never answers costs it a second.
PROMPT = {"socket_timeout": 1, "socket_connect_timeout": 1}
#: For the queue, where a worker waits at the server itself, for a second each time.
QUEUE = {"socket_timeout": 3, "socket_connect_timeout": 1}
_PLAIN = ("redis", "rediss", "unix")
_SENTINEL_PORT = 26379
_SHAPE = (
    "use redis://host:6379/0, rediss://…, unix:///path, or "
    "redis+sentinel://host:26379,host:26379/master-name/0"
)


class Parser(_AsyncParser):  # type: ignore[misc]
    """redis-py's, which takes the system's word that the server vanished (ETIMEDOUT) for the end of
    its own waiting. Whoever listens would read the broken connection again at once, for ever: no
    other task of the process had a turn, and its memory filled with what was raised.
    """

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except TimeoutError as error:
            raise redis.ConnectionError(f"the server vanished: {error}") from None


@dataclass(frozen=True)
class Store:
    """A Redis as its URL names it; `sentinels` is empty for a single server."""

    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None

    @property
    def login(self) -> dict[str, Any]:
        """What a connection to the master needs."""
        return {"db": self.db, "username": self.username, "password": self.password}

    @property
    def sentinel_login(self) -> dict[str, Any]:
        """What a connection to a sentinel needs."""
        return {"password": self.sentinel_password} if self.sentinel_password else {}


def parse(url: str) -> Store:
    """ValueError names what is wrong, never the URL: it holds a password."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in (*_PLAIN, SENTINEL):
        raise ValueError(f"not a Redis URL; {_SHAPE}")
    if scheme != SENTINEL:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError(f"the port is no number of 1 to 65535; {_SHAPE}")
        if scheme != "unix" and not re.fullmatch(r"(?:/[0-9]*)?", parts.path):
            # The site would take the first database, the queue none.
            raise ValueError(f"the database is not a number; {_SHAPE}")
        return Store()
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    master, _, db = path.partition("/")
    sentinels = tuple(_host(part) for part in hosts.split(",") if part)
    if not sentinels or not master or not (db or "0").isdecimal():
        raise ValueError(f"sentinels, the master's name or the database is missing; {_SHAPE}")
    user, _, password = login.partition(":")
    extra = parse_qs(query)
    return Store(
        sentinels,
        unquote(master),
        int(db or 0),
        unquote(user) or None,
        unquote(password) or None,
        extra["sentinel_password"][0] if "sentinel_password" in extra else None,
    )


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0:
        raise ValueError(f"{text[:80]!r} is not host:port; {_SHAPE}")
    return host, port or _SENTINEL_PORT


def client(url: str, **options: Any) -> redis.Redis:
    """A synchronous client; `options` are those of a redis-py connection."""
    store = parse(url)
    if not store.sentinels:
        return redis.Redis.from_url(url, **options)
    found: redis.Redis = _sentinel(store, options).master_for(store.master, **store.login)
    return found


def async_client(url: str, **options: Any) -> redis.asyncio.Redis:
    """An asyncio client, for one event loop."""
    store = parse(url)
    options["parser_class"] = Parser
    if not store.sentinels:
        return redis.asyncio.Redis.from_url(url, **options)
    pool = {key: options.pop(key) for key in ("max_connections",) if key in options}
    sentinel = _AsyncSentinel(store.sentinels, sentinel_kwargs=store.sentinel_login, **options)
    found: redis.asyncio.Redis = sentinel.master_for(store.master, **store.login, **pool)
    return found


def _sentinel(store: Store, options: dict[str, Any]) -> Any:
    kwargs = {**_waits(options), **store.sentinel_login}
    return _Sentinel(store.sentinels, sentinel_kwargs=kwargs, **options)


def _waits(options: dict[str, Any]) -> dict[str, Any]:
    """How long to wait, of all options: what asking a sentinel takes over."""
    return {key: options[key] for key in PROMPT if key in options}


class Pool(redis.sentinel.SentinelConnectionPool):
    """Connections to the master that sentinels name, made from one URL: what Django's cache wants
    as its `pool_class`."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Pool:
        store = parse(url)
        return cls(store.master, _sentinel(store, _waits(options)), **store.login, **options)


def cache(url: str) -> dict[str, Any]:
    """Django's CACHES entry."""
    entry: dict[str, Any] = {
        "BACKEND": "net.cache.SharedRedisCache",
        "LOCATION": [url],
        "OPTIONS": dict(PROMPT),
    }
    if parse(url).sentinels:
        entry["OPTIONS"]["pool_class"] = Pool
    return entry


def layer(url: str) -> dict[str, Any]:
    """An entry of `hosts` of the channel layer."""
    store = parse(url)
    if not store.sentinels:
        return {"address": url, "parser_class": Parser}
    return {
        "parser_class": Parser,
        "sentinels": store.sentinels,
        "master_name": store.master,
        "sentinel_kwargs": store.sentinel_login,
        **store.login,
    }


def celery(url: str) -> tuple[str, dict[str, Any]]:
    """Celery's broker URL and its transport options."""
    store = parse(url)
    if not store.sentinels:
        return url.replace("unix://", "redis+socket://", 1), dict(QUEUE)
    login = ""
    if store.password:
        login = f"{quote(store.username or '', safe='')}:{quote(store.password, safe='')}@"
    broker = ";".join(
        f"sentinel://{login}{f'[{host}]' if ':' in host else host}:{port}/{store.db}"
        for host, port in store.sentinels
    )
    named = {"master_name": store.master, "sentinel_kwargs": store.sentinel_login}
    return broker, {**QUEUE, **named}
