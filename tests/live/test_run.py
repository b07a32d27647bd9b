"""`./run` as a user meets it: exec and bad input (`./run demo`: tests/browser/test_journey.py)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from django.db import connection, transaction

from accounts.models import User
from runner.__main__ import shared_out
from runner.check import check
from runner.demo import demo_environment
from runner.environment import secrets_of
from runner.postgres import find_binaries
from runner.tree import Stop
from tests import database
from tests.demo import ROOT, clean_environment
from tests.forks import SITE
from tests.waiting import eventually

NO_SERVER = "http://127.0.0.1:9"  # the discard port: nothing listens there


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run"), *arguments],
        env=clean_environment(**env),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def manage(*command: str, **env: str) -> tuple[int, str]:
    """The exit code and the words of a command of the site, as `./run exec` starts it."""
    return SITE.run("manage", *command, env=clean_environment(**env))


@pytest.fixture
def stores(transactional_db: None) -> dict[str, str]:
    """A migrated database and a cache that run already: `./run` starts and migrates none. What is
    written there is gone after the test."""
    place = f"postgresql://app@/{database.NAME}?host={connection.settings_dict['HOST']}"
    return {"DATABASE_URL": place, "REDIS_URL": os.environ["REDIS_URL"]}


def test_exec_returns_the_exit_code_and_keeps_data_between_runs(stores: dict[str, str]) -> None:
    def sql(statement: str) -> str:
        return (
            "import os, psycopg\nwith psycopg.connect(os.environ['DATABASE_URL']) as db:"
            f"\n  print(db.execute({statement!r}).rowcount)\nraise SystemExit(7)"
        )

    first = run("exec", "--", sys.executable, "-c", sql("CREATE TABLE kept AS SELECT 1 AS one"))
    assert first.returncode == 7, first.stderr
    query = sql("SELECT * FROM kept, django_migrations WHERE app = 'ledger'")
    second = run("exec", "--", sys.executable, "-c", query)
    assert second.returncode == 7 and int(second.stdout) > 5, second.stderr
    kept = Path(os.environ["RUN_DATA"]) / "serve"
    private = (kept / "devnet" / "postgres", kept / "devnet" / "logs", kept / "secrets.json")
    assert not any(path.stat().st_mode & 0o077 for path in private)
    with (kept / "devnet" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        busy = run("exec", "--", "true")
    assert busy.returncode and "wait for READY" in busy.stderr
    asks = (sys.executable, "-c", "import sys; print(sys.flags.utf8_mode)")
    words = run("exec", "--", *asks, PYTHONUTF8="0", **stores)
    assert words.stdout == "1\n", "the machine's locale decides how files are read"
    missing = run("exec", "--", "no-such-command-here", **stores)
    assert missing.returncode == 127
    assert "no-such-command-here" in missing.stderr


CUSTOM = {"NETWORK": "custom", "LEDGER_ADDRESS": "0x" + "11" * 20}
WRONG: tuple[tuple[dict[str, str], str], ...] = (
    ({"NETWORK": "mars"}, "NETWORK"),
    ({"NETWORK": "custom"}, "LEDGER_ADDRESS"),
    ({"NETWORK": "custom", "LEDGER_ADDRESS": "0x12"}, "LEDGER_ADDRESS"),
    ({**CUSTOM, "CHAIN_RPC_URLS": "http://x"}, "CHAIN_ID"),
    ({**CUSTOM, "CHAIN_ID": "5"}, "CHAIN_RPC_URLS"),
    ({"NETWORK": "galileo", "CHAIN_ID": "1"}, "CHAIN_ID"),
    ({"NETWORK": "galileo", "CHAIN_RPC_URLS": "ftp://x"}, "CHAIN_RPC_URLS"),
    ({"NETWORK": "galileo", "ALLOW_PRIVATE_PROVIDERS": "1"}, "ALLOW_PRIVATE_PROVIDERS"),
    ({"NETWORK": "galileo", "ATTESTATION_ANCHORS": "x.json"}, "ATTESTATION_ANCHORS"),
    ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL"),
    ({"DATABASE_URL": "postgresql://x:0/y"}, "DATABASE_URL"),
    ({"DATABASE_POOL_SIZE": "many"}, "DATABASE_POOL_SIZE"),
    ({"DATABASE_URL": "postgresql://x/y?tls=yes"}, "DATABASE_URL"),
    ({"TRUSTED_PROXIES": "http://proxy"}, "TRUSTED_PROXIES"),
    ({"NETWORK": "galileo", "SECRET_KEY": "short"}, "SECRET_KEY"),
)


def test_a_wrong_setting_is_one_line_that_names_it() -> None:
    result = run("exec", "--", sys.executable, "manage.py", "check", **WRONG[0][0])
    assert result.returncode != 0
    (line,) = filter(str.strip, result.stderr.splitlines())
    assert WRONG[0][1] in line
    for env, variable in WRONG:
        code, said = manage("check", **env)
        assert code != 0, env
        (line,) = filter(str.strip, said.splitlines())
        assert variable in line, env


def test_secrets_are_made_once_and_never_again(tmp_path: Path) -> None:
    """A full disk or a kill while they are made leaves none; what is there is never replaced."""
    left = tmp_path / "secrets.part"
    left.write_text('{"SECRET_KEY": "hal')
    made = secrets_of(tmp_path)
    assert set(made) == {"SECRET_KEY", "FIELD_KEYS"} and secrets_of(tmp_path) == made
    assert not left.exists()
    for broken in ("", "[]", made["SECRET_KEY"]):
        (tmp_path / "secrets.json").write_text(broken)
        with pytest.raises(Stop, match=r"^configuration: .*secrets\.json cannot be read") as stop:
            secrets_of(tmp_path)
        assert stop.value.code == 2 and made["SECRET_KEY"] not in str(stop.value)


def test_what_is_no_test_is_looked_for_by_one_process() -> None:
    """Four said after minutes that no tests ran, and never named what was not there."""
    assert shared_out(["tests/nothing"]) == [] == shared_out(["tests/pure/test_run.py"])
    assert shared_out(["tests/db", "-x"]) == shared_out(["-x"]) == shared_out([]) != []


def test_what_is_no_check_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(["--help"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no check '--help'; there are: format, lint, types, " in line


def test_what_is_no_port_is_said_in_one_line() -> None:
    for command in ("demo", "serve"):
        result = run(command, NETWORK="galileo", PORT="eight thousand")
        assert result.returncode == 2
        (line,) = result.stderr.splitlines()
        assert "PORT='eight thousand'" in line


@pytest.mark.parametrize(
    ("namespace", "before", "words"),
    [
        ("--net", "true", "127.0.0.1 does not answer"),
        (
            "--mount",
            f"mount --bind {ROOT} {ROOT} && mount -o remount,bind,ro {ROOT}",
            "mounted read-only",
        ),
    ],
)
def test_what_a_machine_lacks_is_said_in_one_line(namespace: str, before: str, words: str) -> None:
    inside = ["unshare", "--user", "--map-root-user", namespace, "sh", "-c"]
    if subprocess.run([*inside, before], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespaces")
    script = f"{before} && exec {sys.executable} {ROOT / 'run'} demo"
    result = subprocess.run(
        [*inside, script], env=clean_environment(), capture_output=True, text=True, check=False
    )
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1 and line.startswith("./run: ") and words in line, line


def test_follow_says_in_one_line_that_the_database_is_unreachable() -> None:
    """A node that is: tests/db/test_ledger_follow.py."""
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    code, said = manage("follow", "--once", DATABASE_URL=nowhere, DATABASE_POOL_SIZE="0")
    assert code != 0
    assert "Traceback" not in said and "DATABASE_URL" in said, said


def test_commands_say_in_one_line_that_tables_are_missing(stores: dict[str, str]) -> None:
    place = stores["DATABASE_URL"].replace(f"/{database.NAME}?", "/postgres?")
    for command in (("verify_audit",), ("grant_role", "0x" + "11" * 20, "admin")):
        code, said = manage(*command, DATABASE_URL=place)
        assert code == 1
        (line,) = said.splitlines()
        assert line.startswith("database: relation ") and line.endswith("manage.py migrate"), said


def test_commands_say_in_one_line_what_the_database_refuses(stores: dict[str, str]) -> None:
    """A limit, a standby (which is read-only), and a server full of connections."""
    place = stores["DATABASE_URL"]
    command = ("grant_role", "0x" + "11" * 20, "admin")
    few = place.replace("//app@", "//few@")
    refusals = (
        (f"{place}&options=-c%20statement_timeout%3D200", "statement_timeout%3D0"),
        (f"{place}&options=-c%20default_transaction_read_only%3Don", "must name the primary"),
        (few, "raise max_connections"),
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f'LOCK TABLE "{User._meta.db_table}"')
            said = [manage(*command, DATABASE_URL=refusals[0][0])]
        said += [manage(*command, DATABASE_URL=url) for url, _ in refusals[1:]]
        doctor = [manage("doctor", **{**stores, "DATABASE_URL": url}) for url, _ in refusals[1:]]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP ROLE few")
    for (code, text), (_, advice) in zip(said, refusals, strict=True):
        (line,) = text.splitlines()
        assert code == 1 and line.startswith("database: ") and advice in line, text
    for (code, text), (_, advice) in zip(doctor, refusals[1:], strict=True):
        (line,) = (line for line in text.splitlines() if line.startswith("WRONG database: "))
        assert code == 1 and advice in line, text


def test_what_a_command_cannot_do_is_said_in_one_line(stores: dict[str, str]) -> None:
    for command, words in (
        (("reverify", "--limit", "-5"), "--limit takes a number above 0"),
        (("dump_data",), "cannot write into DATA_DIR: File exists"),
    ):
        code, said = manage(*command, DATA_DIR=__file__, **stores)
        assert code and words in said and "Traceback" not in said, said


@pytest.mark.parametrize(
    "command", [("run", "--help"), ("manage.py", "version"), ("-m", "bench", "nothing")]
)
def test_whoever_has_read_enough_gets_no_traceback(command: tuple[str, ...]) -> None:
    """`./run --help | head -1`; nobody reads here from the start."""
    reads, writes = os.pipe()
    os.close(reads)
    said = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean_environment(NETWORK="devnet"),
        stdout=writes,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writes)
    assert said.stderr == "" and said.returncode in (141, -signal.SIGPIPE)


def test_a_demo_ignores_what_is_meant_for_a_real_network() -> None:
    real = {"DATABASE_REPLICA_URL": "postgresql://standby/market", "EMAIL_URL": "smtp://mail"}
    real |= {"SECRET_KEY_FILE": "/run/secrets/secret_key", "CHAIN_ID": "16661"}
    kept = {"PATH": "/bin", "LOG_LEVEL": "DEBUG"}
    env = {**real, **kept}
    demo_environment(env, "http://127.0.0.1:8000")
    assert not real.keys() & env.keys() and kept.items() <= env.items()
    assert env["NETWORK"] == "devnet" and env["SITE_URL"] == "http://127.0.0.1:8000"


def test_the_tests_ignore_it_too() -> None:
    real = {"DATABASE_REPLICA_URL": "postgresql://standby/market", "SECRET_KEY_FILE": "/nothing"}
    settled = "import os, tests.environment as ours; ours.pytest_unconfigure(); print(*os.environ)"
    said = subprocess.run(
        [sys.executable, "-c", settled],
        env=clean_environment(PYTHONPATH=str(ROOT), **real),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NETWORK" in said.stdout.split()
    assert not real.keys() & {*said.stdout.split()}


def test_without_npm_the_set_up_says_what_to_install(tmp_path: Path) -> None:
    """A bare copy in a path with spaces builds its environment (of one package), misses npm."""
    copy = tmp_path / "a path with spaces"
    copy.mkdir()
    for name in ("run", "package.json", "package-lock.json"):
        shutil.copy(ROOT / name, copy / name)
    one = re.findall(r"^certifi==(?:.*\\\n)+.*\n", (ROOT / "requirements.lock").read_text(), re.M)
    (copy / "requirements.lock").write_text(one[0])
    result = subprocess.run(
        [sys.executable, str(copy / "run"), "demo"],
        env={**clean_environment(), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1
    assert "npm is missing: install Node.js" in result.stderr
    assert "Traceback" not in result.stderr
    subprocess.run([copy / ".venv" / "bin" / "python", "-c", "import certifi"], check=True)


WAITING = """
import os, signal, sys
from pathlib import Path
from runner.tree import Stop, Tree

tree = Tree(Path(sys.argv[1]))
python = sys.executable, "-c"
follow = tree.spawn("follow", *python, "raise SystemExit(2)")
reaped = f"import os, time\\nwhile os.path.exists('/proc/{follow.process.pid}'): time.sleep(0.05)"
tree.wait(tree.spawn("seed", *python, reaped))
crashed = tree.spawn("web", *python, "raise SystemExit('out of paper')")
try:
    tree.wait()
except Stop as stop:
    print(stop)
    tree.children.remove(crashed)
print("children", tree.children, flush=True)
# What is raised here is lost, as it is in a finalizer.
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    tree.spawn("endless", *python, "import time; time.sleep(9999)")
    print("lost", flush=True)
    tree.wait()
except Stop as stop:
    print("stopped", stop.code)
finally:
    tree.stop()
"""


def test_neither_a_halted_follower_nor_a_crash_nor_ctrl_c_is_missed(tmp_path: Path) -> None:
    """While something short is waited for, for good, and while a process is being started."""
    said = subprocess.run(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "follow stopped; the site goes on" in said.stdout, said.stderr
    assert "web ended with exit code 1; everything stops" in said.stdout, said.stderr
    assert "out of paper" in said.stdout
    assert said.stdout.splitlines()[-3:] == ["children []", "lost", "stopped 0"], said.stderr
    assert "Traceback" not in said.stderr


STARTING = """
import os, signal, subprocess, sys, time
from runner.processes import die_with_parent

signal.signal(signal.SIGTERM, lambda *_: None)  # as a tree has one of its own
dies, parent = die_with_parent(), os.getpid()

def wait():
    print(os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)

def begin():
    for step in sys.argv[1:]:
        globals()[step]()

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(999)"], preexec_fn=begin)
"""


@pytest.mark.parametrize("steps", [("wait", "dies"), ("dies", "wait")])
def test_what_is_just_being_started_ends_with_its_parent_too(steps: tuple[str, str]) -> None:
    """Killed before the child has asked to be told, and after, but before it is a program."""
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTING, *steps],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 20)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


BESIDE = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from runner.postgres import find_binaries
from runner.serve import announce
from runner.tree import DATA, ROOT, Tree

DATA.mkdir(parents=True, exist_ok=True)
tree = Tree(DATA / "serve")
tree.env |= {"NETWORK": "devnet", "DATA_DIR": "/srv/data", "EMAIL_URL_FILE": "/srv/mail"}
tree.postgres = SimpleNamespace(binaries=find_binaries())
announce(tree, "https://market.example", 8123)
asks = "import os, shutil; print(os.environ['DATA_DIR'], os.environ['EMAIL_URL_FILE'], "
asks += "shutil.which('pg_dump'))"
subprocess.run([sys.executable, ROOT / "run", "exec", "--", sys.executable, "-c", asks], check=True)
tree.withdraw()
"""


def test_a_command_beside_a_site_has_its_settings_and_the_programs_of_its_database(
    tmp_path: Path,
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", BESIDE],
        env=clean_environment(PYTHONPATH=str(ROOT), RUN_DATA=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    where, settings = said.stdout.splitlines()
    assert "listening on 127.0.0.1:8123, logs in " in where, "SITE_URL is a proxy's"
    assert settings == f"/srv/data /srv/mail {find_binaries() / 'pg_dump'}", said.stderr


def test_doctor_names_each_thing_that_is_wrong(stores: dict[str, str]) -> None:
    result = run(
        *("exec", "--", sys.executable, "manage.py", "doctor"),
        NETWORK="custom",
        CHAIN_ID="31337",
        LEDGER_ADDRESS="0x" + "11" * 20,
        CHAIN_RPC_URLS=NO_SERVER,
        SECRET_KEY="x" * 60,
        **stores,
    )
    assert result.returncode == 1, result.stderr
    assert "ok    database: answers" in result.stdout
    assert "ok    cache: answers" in result.stdout
    assert "WRONG node 127.0.0.1: does not answer; correct CHAIN_RPC_URLS" in result.stdout
    assert "Connection refused; pages show the last known state)" in result.stdout
    place = stores["DATABASE_URL"].replace(f"/{database.NAME}?", "/ascii?")
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
        code, said = manage("doctor", **{**stores, "DATABASE_URL": place})
        cursor.execute("DROP DATABASE ascii")
    assert code == 1 and "WRONG database: its encoding is SQL_ASCII" in said, said


def test_serve_stops_in_one_line_without_its_cache(stores: dict[str, str]) -> None:
    env = {**stores, "REDIS_URL": "redis://127.0.0.1:9/0", "STATIC_ROOT": os.devnull}
    result = run("serve", NETWORK="galileo", **env)
    assert result.returncode == 2
    assert "READY" not in result.stdout
    assert "correct REDIS_URL" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
