"""What whoever runs a command does about an error of PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

_START = "start the server or correct DATABASE_URL"
_FULL = "lower DATABASE_POOL_SIZE or raise max_connections of the server, then run it again"
PRIMARY = "this is a standby, or is set to be read-only: DATABASE_URL must name the primary"
_LIMIT = (
    "run it again; where the server has a statement_timeout, without that: end DATABASE_URL with "
    "?options=-c%20statement_timeout%3D0 (& in place of ? after other options)"
)
_AGAIN = "run it again"
#: By SQLSTATE (PostgreSQL's Appendix A): the words beside it are in the server's language.
_BY_STATE: Mapping[str, str] = {
    "25006": PRIMARY,
    "40001": _AGAIN,
    "40P01": _AGAIN,
    "42501": "use the role that owns the tables in DATABASE_URL",
    "53100": "make room on the server's disk, then run it again",
    "53200": "give the server more memory, or run less beside it, then run it again",
    "53300": _FULL,
    "55P03": "somebody else holds the table; run it again when they are done",
    "57014": _LIMIT,
    "57P01": "the server ended the connection; run it again when it is up",
    "57P02": "the server ended the connection; run it again when it is up",
    "57P03": "the server is starting or stopping; run it again when it is up",
}
#: An error while connecting has no SQLSTATE, only words.
_BY_WORDS: Mapping[str, str] = {
    "too many clients": _FULL,
    "connection slots are reserved": _FULL,
    "too many connections": _FULL,
    "is starting up": _BY_STATE["57P03"],
    "is shutting down": _BY_STATE["57P03"],
    "server closed the connection": _BY_STATE["57P01"],
    "connect": _START,
}


def advice(error: BaseException) -> str | None:
    """`what PostgreSQL says; what to do`, in one line; None where it is no trouble of the server
    or of its settings, but our own mistake. Never a value of a row: these are in later lines.

    `error` is Django's, whose cause is psycopg's, or psycopg's own.
    """
    said = str(error).strip().partition("\n")[0]
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if state:
        todo = _BY_STATE.get(state)
    else:
        todo = next((todo for words, todo in _BY_WORDS.items() if words in str(error)), None)
    return f"{said}; {todo}" if todo else None
