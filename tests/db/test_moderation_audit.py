"""The record of staff acts: appended only, and any change of it is found."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import roles
from accounts.models import User
from moderation import audit, entries
from moderation.models import Act

pytestmark = pytest.mark.django_db
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
COLUMNS = [field.name for field in Act._meta.concrete_fields]


def some(count: int = 4) -> None:
    user = User.objects.for_address(ADDRESS)
    for number in range(count):
        audit.record(
            user,
            "flag",
            ("provider", ADDRESS),
            area="ops",
            reason="because “ü”\n\t\x01",
            before={"n": number},
            after=[True, None, "x"],
            public=number % 2 == 0,
            public_text="said",
            data={"label": "beta"},
            request=RequestFactory().get("/", REMOTE_ADDR="203.0.113.7"),
        )


def verified(*arguments: str) -> tuple[int, str]:
    said, failed = StringIO(), StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=said, stderr=failed)
    except SystemExit as error:
        return int(str(error.code)), failed.getvalue()
    return 0, said.getvalue()


def loose(sql: str, *values: str | int) -> None:
    """What somebody with the rights of the database's owner can do."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE moderation_act DISABLE TRIGGER act_is_kept")
        cursor.execute(sql, values)
        cursor.execute("ALTER TABLE moderation_act ENABLE TRIGGER act_is_kept")


def test_the_chain_is_whole_and_the_database_keeps_it() -> None:
    assert verified() == (0, f"0 entries, whole. Head 0:{entries.START}\n")
    some()
    count, last = audit.head()
    assert verified("--expect", f"{count}:{last}")[0] == 0
    act = Act.objects.get(pk=2)
    assert "203.0.113.7" not in json.dumps(act.fields), "no address is stored"
    assert act.address == Act.objects.get(pk=3).address != ""
    for change in (
        lambda: Act.objects.filter(pk=2).update(reason="better"),
        lambda: Act.objects.filter(pk=2).delete(),
        lambda: connection.cursor().execute("TRUNCATE moderation_act CASCADE"),
    ):
        with pytest.raises(IntegrityError, match="appended"), transaction.atomic():
            change()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_one_changed_byte_of_any_field_is_found(data: st.DataObject) -> None:
    with transaction.atomic():
        some()
        number = data.draw(st.integers(1, 4))
        column = data.draw(st.sampled_from(COLUMNS))
        text = f"SELECT convert_to({column}::text, 'UTF8') FROM moderation_act WHERE number = %s"
        with connection.cursor() as cursor:
            cursor.execute(text, [number])
            (found,) = cursor.fetchone()
        if column == "public":
            spelled = "false" if bytes(found) == b"true" else "true"
        elif column in ("at", "number"):
            spelled = {"at": "2020-01-01T00:00:00Z", "number": "77"}[column]
        elif column == "until":
            spelled = "2020-01-01T00:00:00Z"
        else:
            raw = bytearray(bytes(found))
            place = data.draw(st.integers(0, max(len(raw) - 1, 0)))
            byte = data.draw(st.integers(32, 126))
            if raw and raw[place] < 128 and raw[place] != byte:
                raw[place] = byte
            else:
                raw.append(byte)
            spelled = raw.decode()[: getattr(Act._meta.get_field(column), "max_length", None)]
            if spelled.encode() == bytes(found):
                spelled = spelled[:-1]
        kind = {"public": "boolean", "at": "timestamptz", "until": "timestamptz"}
        kind["number"] = "bigint"
        loose(
            f"UPDATE moderation_act SET {column} = %s::{kind.get(column, 'text')}"
            " WHERE number = %s",
            spelled,
            number,
        )
        code, said = verified()
        assert code == 1, f"{column} of {number} became {spelled!r} unseen"
        assert int(said.split("entry ")[1].split(":")[0]) in (number, number + 1)
        transaction.set_rollback(True)


def test_a_cut_moved_or_added_act_is_found() -> None:
    some()
    count, last = audit.head()
    loose("DELETE FROM moderation_act WHERE number = 2")
    assert verified() == (1, "broken at entry 2: it is missing; number 3 follows\n")
    loose("DELETE FROM moderation_act WHERE number > 2")
    assert verified()[0] == 0, "the beginning of a chain is a chain"
    assert verified("--expect", f"{count}:{last}") == (
        1,
        f"broken at entry {count}: the expected entry is missing\n",
    )
    some(3)
    assert verified("--expect", f"{count}:{last}")[0] == 1, "another one in its place"


def test_an_export_is_proven_by_whoever_has_it(tmp_path: Path) -> None:
    some()
    shown = [
        {"open": e.open, "sealed": e.sealed, "previous": e.previous, "hash": e.hash}
        for e in audit.rows()
    ]
    number, last = audit.head()
    head = {"number": number, "hash": last}
    document = {"entries": shown, "previous": entries.START, "head": head}
    file = tmp_path / "log.json"

    def check(text: str) -> int:
        file.write_text(text)
        return verified(str(file))[0]

    whole = json.dumps(document)
    assert check(whole) == 0
    assert "because" not in whole and "beta" in whole, "reasons are sealed, public words are not"
    assert len(shown[1]["open"]) == 2, "a private act shows that it is there"
    assert check(whole.replace('"said"', '"sold"', 1)) == 1
    assert check(json.dumps({**document, "entries": shown[:3]})) == 1
    assert check(json.dumps({**document, "entries": [shown[0], shown[2]]})) == 1
    assert check("[]") == 1
    for other in ([number, last], "no head", None):
        assert check(json.dumps({**document, "head": other})) == 1
    with pytest.raises(CommandError, match=r"log\.json: .*recursion"):
        check("[" * 100_000)
    with pytest.raises(CommandError, match="NUMBER:HASH"):
        verified(str(file), "--expect", f"²:{last}")


def test_the_record_says_names_and_values(client: Client) -> None:
    """Whoever looks a change up should not have to read JSON."""
    user = User.objects.for_address(ADDRESS)
    roles.give(user, roles.Role.ADMIN)
    client.force_login(user)
    about = ("user", ADDRESS)
    old, new = {"roles": [], "may_sign_in": True}, {"roles": ["<b>"], "may_sign_in": True}
    audit.record(user, "roles_changed", about, area="admin", before=old, after=new)
    audit.record(user, "flag", about, area="moderation", before=["flagged"], after=[])
    audit.record(user, "password_set", about, area="admin")
    html = re.sub(r'<span class="visually-hidden">[^<]*</span>|<svg.*?</svg>', "", shown(client))
    assert "<dt>roles</dt><dd>" in html and "<del><bdi>nothing</bdi></del>" in html
    assert "<ins><bdi>&lt;b&gt;</bdi></ins>" in html
    assert "<dt>may sign in</dt><dd><bdi>yes</bdi></dd>" in html
    assert "<dt>In force</dt><dd>" in html and "<del><bdi>flagged</bdi></del>" in html
    assert html.count('<dl class="pairs">') == 2 and "{" not in html


def shown(client: Client) -> str:
    html = client.get("/moderation/record").content.decode()
    return html[html.index('<ol class="log"') : html.index("</ol>")]
