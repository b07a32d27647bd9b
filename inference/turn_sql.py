"""Turns as SQL, as they begin and as they end. What a person waits for before the first word is
mostly the number of statements and what the ORM spends on making each, their own and those of
whoever is served before; so a turn is written in one statement with all that changes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Field
from psycopg import sql
from psycopg.types.json import Jsonb

from accounts import tokens
from inference.models import Chat, Turn
from net.postgres import statements

#: What is known of a turn when it ends. Before, an INSERT says what the field is until then: a
#: statement of more than 50 parameters is read anew by psycopg each time.
_LATER = {
    "answer_sealed", "reasoning_sealed", "calls_sealed", "detail_sealed", "response_sealed",
    "arrivals_sealed",
    "response_headers", "response_sha256", "response_bytes", "complete", "answer_id",
    "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens", "quantity", "fee_kind",
    "first_token_ms", "reasoning_ms", "total_ms", "failure", "failure_status", "retry_after",
    "verdict", "verdict_reason", "signature", "signer", "scheme", "signed_request",
    "signed_response", "signed_model", "signature_tries", "signature_at", "ended_at",
}  # fmt: skip
_FIELDS = tuple(f for f in Turn._meta.local_concrete_fields if not f.primary_key)
_GIVEN = tuple(field for field in _FIELDS if field.name not in _LATER)
_NEW = {field.attname: field.get_default() for field in _GIVEN}


def _place(field: Field[Any, Any]) -> str:
    """What stands in a new turn's column: a parameter, or what the field is until it is known."""
    if field.name not in _LATER:
        return f"%(turn_{field.column})s"
    default = field.get_default()
    known = Jsonb(default) if isinstance(default, dict) else default
    return sql.Literal(str(known) if isinstance(known, str) else known).as_string()


_COLUMNS = ", ".join(f'"{field.column}"' for field in _FIELDS)
_PLACES = ", ".join(map(_place, _FIELDS))
#: `INSERT` of a turn where the statement it is put behind has a row; gives its number.
INSERT = f"INSERT INTO inference_turn ({_COLUMNS}) SELECT {_PLACES} FROM"


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of INSERT, from attributes of a new turn: what is left out is as `Turn` has
    it. (To make a `Turn` takes longer than all else that a program's request is written with.)
    """
    if unknown := given.keys() - _NEW.keys():
        raise TypeError(f"a new turn has no {', '.join(sorted(unknown))}")
    known = {**_NEW, **given}
    return {
        f"turn_{field.column}": field.get_db_prep_save(known[field.attname], connection)
        for field in _GIVEN
    }


# The owner's row orders concurrent prompts of one person, so the limits are exact: it is locked by
# a statement of its own, for a statement sees what was there when it began. Both go to the server
# as one message, which makes them one transaction: all that is waited for is one round trip.
_LOCK = "SELECT 1 FROM accounts_user WHERE id = %(owner)s FOR UPDATE"
_OPEN = f"""
WITH room AS (
    SELECT
        (SELECT count(*) FROM inference_turn JOIN inference_chat c ON c.id = chat_id
         WHERE c.owner_id = %(owner)s AND c.medium = 'chat' AND state = 'open') AS open,
        (SELECT count(*) FROM inference_turn WHERE chat_id = %(chat)s) AS turns,
        EXISTS (SELECT FROM inference_chat WHERE id = %(chat)s AND deleted_at IS NULL) AS here,
        %(session)s::text IS NULL OR EXISTS (
            SELECT FROM django_session WHERE session_key = %(session)s AND expire_date > %(now)s
        ) AS signed_in
), asked AS (
    {INSERT} room WHERE here AND signed_in AND open < %(most_open)s AND turns < %(most_turns)s
    RETURNING id
), used AS (
    UPDATE accounts_providerkey SET last_used_at = %(now)s WHERE id = %(key)s
), shown AS (
    UPDATE inference_chat SET provider = %(turn_provider)s, asked = true, leaf_id = asked.id,
        options_sealed = %(options)s, updated_at = %(now)s,
        title_sealed = CASE WHEN title_sealed = '' THEN %(title)s ELSE title_sealed END
    FROM asked WHERE inference_chat.id = %(chat)s AND %(goes_on)s
)
SELECT open, turns, here, signed_in, (SELECT id FROM asked) FROM room
"""


def open_chat_turn(
    chat: Chat, turn: Mapping[str, Any], **given: Any
) -> tuple[int, int, bool, bool, int]:
    """Store a chat's new turn (`values`): it is the end of the shown branch where `goes_on`.
    Gives how many open turns its owner, and how many turns the chat had, and whether it is there,
    and whether the `session` (None: nobody's) lives; where that is too many (`most_open`,
    `most_turns`), it was deleted or the session ended, nothing is stored; last the turn's number.
    Raises IntegrityError where its key or lane is taken.
    """
    row = values({**turn, "created_at": given["now"]})
    given = {**row, "owner": chat.owner_id, "chat": chat.pk, **given}
    with statements.prepared() as lock, statements.prepared() as cursor:
        with statements.at_once():
            lock.execute(_LOCK, {"owner": chat.owner_id})
            cursor.execute(_OPEN, given)
        found: tuple[int, int, bool, bool, int | None] = cursor.fetchone()
    return (*found[:4], found[4] or 0)


_RESERVED = f"WITH token AS ({tokens.RESERVE}) {INSERT} token RETURNING id"


def open_relay_turn(given: Mapping[str, Any], digest: str, *, bounded: bool = True) -> int | None:
    """Set aside what a program's request can cost (`fee`; `bounded`: it bounds its answer) and
    store its turn (`values`), both or neither (1 statement); the turn's number. None where the
    token does not hold it (`accounts.tokens.RESERVE`).
    """
    row = {
        **values(given), "token": given["token_id"], "digest": digest, "most": given["fee"],
        "now": given["created_at"], "bounded": bounded,
    }  # fmt: skip
    with statements.prepared() as cursor:
        cursor.execute(_RESERVED, row)
        found: tuple[int] | None = cursor.fetchone()
    return found and found[0]


class Going(NamedTuple):
    """What ending a turn rests on, as it was written when it began."""

    provider: str
    url: str
    model: str
    input_price: int
    output_price: int
    additional_info: str
    text_bytes: int
    picture_tokens: int
    max_tokens: int
    expected_signer: str
    signer_acknowledged: bool
    routing_proof: bool
    created_at: datetime
    chat: UUID
    key_sealed: str
    owner: int
    asked_bytes: int


_GOING = """
SELECT t.provider, t.url, t.model, t.input_price, t.output_price, t.additional_info,
    t.request_bytes - t.picture_bytes, t.picture_tokens, t.max_tokens, t.expected_signer,
    t.signer_acknowledged, t.routing_proof, t.created_at, c.id, c.key_sealed, c.owner_id,
    length(t.question_sealed) + length(t.results_sealed) + length(t.request_sealed)
FROM inference_turn t JOIN inference_chat c ON c.id = t.chat_id WHERE t.id = %s
"""


def going(turn: int) -> Going:
    """A chat's turn. Raises Turn.DoesNotExist."""
    with statements.prepared() as cursor:
        cursor.execute(_GOING, [turn])
        row = cursor.fetchone()
    if row is None:
        raise Turn.DoesNotExist(turn)
    found = Going(*row)
    prices = int(found.input_price), int(found.output_price)
    return found._replace(input_price=prices[0], output_price=prices[1])


_BY_NAME = {field.name: field for field in _FIELDS}
_END = """
UPDATE inference_turn SET {} WHERE id = %(turn)s AND state = 'open'
RETURNING answer_id <> '' AND EXISTS (
    SELECT FROM inference_turn before
    WHERE before.provider = inference_turn.provider
        AND UPPER(before.answer_id::text) = UPPER(%(answer_id)s) AND before.id <> %(turn)s
)
"""
# Of two answers with one id the second to end sees the first: a statement sees what was there when
# it began, so it waits before it begins. "0GSAME".
_SAME_ID = "SELECT pg_advisory_xact_lock(hashtextextended(UPPER(%(answer_id)s), 53082897599813))"


_CORRECTED = f"""
WITH ended AS ({_END} AS used), corrected AS (
    {tokens.CORRECT} FROM ended WHERE accounts_accesstoken.id = %(token)s
) SELECT used FROM ended
"""


def wait_for_same(answer_id: str) -> None:
    """Until the transaction ends nobody else ends an answer with this id."""
    with connection.cursor() as cursor:
        cursor.execute(_SAME_ID, {"answer_id": answer_id})


def end(turn: int, token: int = 0, more: int = 0, /, **changed: Any) -> bool | None:
    """Store how an open turn ended (fields of `Turn`, `answer_id` among them); says whether that id
    was used before, as `inference.signatures.reused` does. None where it had ended already.
    With it a `token` has spent so much `more` (neuron, negative: less), both or neither.
    """
    columns = ", ".join(f'"{_BY_NAME[name].column}" = %({name})s' for name in changed)
    given = {
        name: _BY_NAME[name].get_db_prep_save(value, connection) for name, value in changed.items()
    }
    statement = (_CORRECTED if more else _END).format(columns)
    with statements.prepared() as lock, statements.prepared() as cursor:
        with statements.at_once():
            if changed["answer_id"]:
                lock.execute(_SAME_ID, {"answer_id": changed["answer_id"]})
            cursor.execute(statement, {**given, "turn": turn, "token": token, "more": more})
        row: tuple[bool] | None = cursor.fetchone()
    return None if row is None else row[0]
