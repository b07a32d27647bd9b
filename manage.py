#!/usr/bin/env python3
"""Django's command line: `./run exec -- python manage.py COMMAND`."""

import os
import select
import sys


def unread() -> bool:
    """Whether nobody is left who reads what is printed: `… | head` has had enough."""
    output = select.poll()
    output.register(1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    # A command is one thread: a pool would only make it slow to say that the database is away.
    os.environ["ONE_THREAD"] = "1"
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import Error, ProgrammingError

    from net.postgres.trouble import advice

    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is flushed at the very end
        sys.exit(141)  # as shells say it of whoever wrote to nobody
    except ImproperlyConfigured as error:
        sys.exit(f"configuration: {error}")
    except Error as error:
        if text := advice(error):
            sys.exit(f"database: {text}")
        missing = type(error.__cause__).__name__ in ("UndefinedTable", "UndefinedColumn")
        if not isinstance(error, ProgrammingError) or not missing or sys.argv[1:2] == ["migrate"]:
            raise
        reason = str(error).partition("\n")[0]
        sys.exit(f"database: {reason}; run: python manage.py migrate")
    except KeyboardInterrupt:
        sys.exit(130)  # as shells say it of whoever was interrupted


if __name__ == "__main__":
    main()
