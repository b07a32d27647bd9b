"""Every endpoint of the OpenAPI document under schemathesis: no 5xx, every answer as documented.

The document's own example address is a provider and an account here, so that examples find rows.
Schemathesis takes a second to import: here where it is used, and as no plugin of every process that
collects the tests (`-p no:schemathesis` in pyproject.toml).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings

from marketplace import limits
from tests import factories
from tests.db import api_rows
from tests.factories import ALICE, INFERENCE

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(request: pytest.FixtureRequest) -> Any:
    import schemathesis

    request.node._nodeid = request.node.nodeid  # what schemathesis 4.32 reads, pytest 9.2 lost
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """As Django's own test client does: a request leaves the test's transaction open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer is one caller; its limit must not hide what it would find."""
    monkeypatch.setattr(
        limits, "API", dataclasses.replace(limits.API, per_minute=10**6, burst=10**6)
    )
    factories.market(3)
    factories.service(ALICE)
    factories.service(ALICE, kind="fine-tuning")
    factories.change(ALICE)
    factories.settlement(ALICE, factories.BOB)
    factories.purse(ALICE)
    factories.sub_account(ALICE, factories.PETRA)
    api_rows.movement(ALICE, serving=INFERENCE, provider=factories.PETRA)


def repeats(case: Any) -> bool:
    """Three of four covering cases of a twin: the file or feed of a list takes the very filters
    that are tried on the list one by one."""
    twin = case.path.endswith((".csv", ".atom"))
    covers = case.meta is not None and case.meta.phase.name.value == "coverage"
    return twin and covers and zlib.crc32(repr((case.query, case.method)).encode()) % 4 > 0


def holds_an_object(case: Any) -> bool:
    """An object in place of a number goes out as its keys, and an empty one as nothing behind its
    name, which is as good as not given: neither has to be refused."""
    return any(isinstance(value, dict) for value in (case.query or {}).values())


def as_documented(case: Any) -> None:
    from schemathesis import checks

    if repeats(case):
        return
    response = case.call()
    # What a schema cannot say (checksums, how deep pages reach) is refused all the same.
    left_out = [checks.positive_data_acceptance]
    if holds_an_object(case):
        left_out.append(checks.negative_data_rejection)
    if case.path == "/api/v1/transactions/preview" and response.status_code == 503:
        # There is no chain under this test, which is what that status says.
        left_out.append(checks.not_a_server_error)
    case.validate_response(response, excluded_checks=left_out)


def test_every_answer_is_as_documented(request: pytest.FixtureRequest) -> None:
    from schemathesis.pytest import from_fixture, plugin

    few = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
    request.getfixturevalue("document").validate()  # by the specification's own schema
    each: Any = from_fixture("document").parametrize()(few(as_documented))
    plugins = request.config.pluginmanager
    plugins.register(plugin, "schemathesis of this test")
    try:
        each(request=request)
    finally:
        plugins.unregister(plugin)
