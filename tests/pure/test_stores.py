"""Redis URLs: plain ones stay as they are, sentinels are taken apart, nonsense is named."""

from __future__ import annotations

import pytest

from net import stores

SENTINELS = "redis+sentinel://app:p%40ss@one:26379,two,[::1]:7/market/3?sentinel_password=s%2Fx"


def test_plain_urls_stay_as_they_are() -> None:
    for url in ("redis://host:6379/0", "rediss://u:p@host/1", "unix:///run/valkey.sock"):
        assert stores.parse(url) == stores.Store()
        assert stores.layer(url) == {"address": url, "parser_class": stores.Parser}
        assert stores.cache(url)["LOCATION"] == [url]
        assert stores.cache(url)["OPTIONS"] == stores.PROMPT
    assert stores.celery("redis://host/0") == ("redis://host/0", stores.QUEUE)
    assert stores.celery("unix:///run/v.sock") == ("redis+socket:///run/v.sock", stores.QUEUE)


def test_sentinels_are_taken_apart() -> None:
    store = stores.parse(SENTINELS)
    assert store.sentinels == (("one", 26379), ("two", 26379), ("::1", 7))
    assert (store.master, store.db, store.username, store.password) == ("market", 3, "app", "p@ss")
    assert store.sentinel_login == {"password": "s/x"}
    assert stores.layer(SENTINELS) == {
        "sentinels": store.sentinels,
        "master_name": "market",
        "sentinel_kwargs": {"password": "s/x"},
        **{"db": 3, "username": "app", "password": "p@ss"},
        "parser_class": stores.Parser,
    }
    broker, options = stores.celery(SENTINELS)
    assert broker.split(";") == [
        "sentinel://app:p%40ss@one:26379/3",
        "sentinel://app:p%40ss@two:26379/3",
        "sentinel://app:p%40ss@[::1]:7/3",
    ]
    named = {"master_name": "market", "sentinel_kwargs": {"password": "s/x"}}
    assert options == {**stores.QUEUE, **named}
    bare = stores.parse("redis+sentinel://one/market")
    assert (bare.db, bare.username, bare.password, bare.sentinel_login) == (0, None, None, {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://host/0",
        "redis://u:secret@host:port/0",
        "redis://u:secret@host:0/0",
        "redis://u:secret@host/main",
        "redis://u:secret@host/-1",
        "redis+sentinel://",
        "redis+sentinel://host",
        "redis+sentinel://host/",
        "redis+sentinel:///market/0",
        "redis+sentinel://host/market/first",
        "redis+sentinel://host:port/market",
        "redis+sentinel://host:0/market",
        "redis+sentinel://u:secret@host:99999/market",
    ],
)
def test_nonsense_is_named_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="use redis://") as caught:
        stores.parse(url)
    assert "secret" not in str(caught.value)
