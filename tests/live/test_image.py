"""What the images promise, without a Docker daemon: the files that the Dockerfile copies and the
packages it installs are all the site needs, and the compose file names what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from marketplace import bodies
from runner.processes import die_with_parent, free_port
from runner.valkey import EmbeddedValkey
from tests.live.test_drill import migrated

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

#: In one process: each start imports all of it.
COMMANDS = """
import django, sys
from celery.__main__ import main
from django.core.management import call_command
import marketplace  # finds the settings by itself, as for the worker
django.setup()
early = {"aiohttp", "markdown_it", "PIL", "prometheus_client", "inference.opening"} & {*sys.modules}
assert not early, f"every command begins with {early}"
sys.argv = ["celery", "-A", "marketplace", "report"]
try:
    main()
except SystemExit as end:
    assert not end.code
import marketplace.asgi
assert "marketplace.urls" in sys.modules, "the first visitor would wait for all pages"
call_command("collectstatic", interactive=False)
call_command("migrate", interactive=False)
call_command("check", deploy=True)
"""


def passes(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def take_byte_code(copy: Path, source: Path) -> None:
    """Compiling it all takes three seconds. Python believes byte code only beside its source, and
    of the same time and size: what the image lacks, it lacks still."""
    for file in copy.rglob("*.py"):
        made = Path(cache_from_source(str(source / file.relative_to(copy))))
        if made.exists():
            folder = file.parent / "__pycache__"
            folder.mkdir(exist_ok=True)
            shutil.copy(made, folder)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's folder and its environment, made the way the Dockerfile says."""
    home = tmp_path_factory.mktemp("image")
    app = home / "app"
    app.mkdir()
    stage = DOCKERFILE.rpartition("FROM ")[2]
    for sources, target in re.findall(r"^COPY (?!--)(.+) (\S+)$", stage, re.M):
        for source in sources.split():
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(
                    path, app / target, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
                )
            else:
                shutil.copy(path, app)
    python = home / "venv/bin/python"
    uv = (sys.executable, "-m", "uv", "-q")
    lock = ROOT / "requirements-production.lock"
    subprocess.run((*uv, "venv", "--python", sys.executable, home / "venv"), check=True)
    subprocess.run((*uv, "pip", "sync", "--python", python, "--require-hashes", lock), check=True)
    take_byte_code(app, ROOT)
    site = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    take_byte_code(home / "venv" / site, Path(sys.prefix) / site)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.usefixtures("django_db_modify_db_settings")
def test_the_image_holds_all_that_the_site_needs(image: Path) -> None:
    app, python = image / "app", image / "venv/bin/python"
    port = free_port()
    with migrated(image / "pg") as postgres, EmbeddedValkey() as cache:
        env = {
            "PATH": f"{image / 'venv/bin'}:{os.environ['PATH']}",
            "NETWORK": "galileo",
            "SITE_URL": f"http://127.0.0.1:{port}",
            # As the compose file has it: the host of SITE_URL need not be named once more.
            "ALLOWED_HOSTS": "web",
            "DATABASE_URL": postgres.dsn,
            "REDIS_URL": cache.url,
            "SECRET_KEY": "x" * 60,
            "FIELD_KEYS": "aW1hZ2Utb25seS1rZXktaW1hZ2Utb25seS1rZXktISE=",
            "STATIC_ROOT": str(image / "static"),
        }
        assert "software" in passes(python, "-c", COMMANDS, cwd=app, env=env)
        command = re.findall(r'^CMD \["(uvicorn.*)"\]$', DOCKERFILE, re.M)[0].split('", "')
        command[command.index("--port") + 1] = str(port)
        command[command.index("--host") + 1] = "127.0.0.1"
        web = subprocess.Popen(command, cwd=app, env=env, preexec_fn=die_with_parent())
        try:
            end = time.monotonic() + 240
            while True:
                try:
                    if requests.get(f"{env['SITE_URL']}/healthz", timeout=60).ok:
                        break
                except requests.ConnectionError:
                    assert web.poll() is None and time.monotonic() < end
                    time.sleep(0.1)
            page = requests.get(f"{env['SITE_URL']}/docs", timeout=60)
            assert page.ok
            sheet = re.search(r'href="(/static/css/tokens\.[0-9a-f]{12}\.css)"', page.text)
            assert sheet
            kept = requests.get(env["SITE_URL"] + sheet[1], timeout=60).headers["cache-control"]
            assert "immutable" in kept
        finally:
            web.terminate()
            assert web.wait(120) in (0, -15)  # uvicorn ends, then lets the signal speak


@pytest.mark.parametrize("name", ["Dockerfile", "deploy/provider/Dockerfile"])
def test_a_checkout_made_with_a_strict_umask_can_be_read_in_the_image(name: str) -> None:
    """COPY keeps modes: with umask 077 the image's user could not read its own code. Nor can it
    write byte code, which therefore is made with the image."""
    copied, _, rest = (ROOT / name).read_text().rpartition("\nCOPY ")
    made = r"^RUN \S*python -m compileall -q \. \\\n && chmod -R a\+rX \.$.*^USER "
    assert copied and re.search(made, rest, re.M | re.S)


def test_production_is_a_part_of_what_is_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\-\[\]]+==\S+", (ROOT / name).read_text(), re.M))

    assert pins("requirements-production.lock") < pins("requirements.lock")


def test_the_proxy_takes_what_the_site_takes_and_lets_go_of_whoever_left() -> None:
    told = re.sub(r"#.*", "", (ROOT / "deploy/site/Caddyfile").read_text())
    most = re.findall(r"max_size (\d+)MB", told)
    assert [int(megabytes) * 10**6 for megabytes in most] >= [max(bodies._PATHS.values())]
    assert f"bodies of {most[0]} MB" in (ROOT / "docs/deploy.md").read_text()
    # With -1 Caddy goes on for a client that has left; the only process answers, ready or not.
    assert "flush_interval" not in told and "health_uri" not in told


def test_compose_names_what_exists(tmp_path: Path) -> None:
    """Files, secrets, dependencies and variables of the compose file are real ones."""
    shutil.copytree(ROOT / "deploy/site", tmp_path / "site", ignore=lambda *_: ["secrets"])
    for _ in range(2):  # the second time changes nothing
        subprocess.run([tmp_path / "site/secrets.sh"], check=True)
    folder = tmp_path / "site/secrets"
    # Containers get each file by itself, as whoever they run as; on this machine nobody else does.
    assert folder.stat().st_mode & 0o777 == 0o700
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in folder.iterdir())
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == {
        name: f"./deploy/site/secrets/{name}" for name in made
    }
    assert made["postgres_password"] in made["database_url"] and len(made["secret_key"]) >= 50
    known = (ROOT / ".env.example").read_text()
    for name, service in COMPOSE["services"].items():
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"]), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        if service.get("image", "").startswith("zero-g-market:"):
            for variable in service["environment"]:
                assert re.search(rf"^#?{variable.removesuffix('_FILE')}=", known, re.M), variable
    published = [
        port for service in COMPOSE["services"].values() for port in service.get("ports", ())
    ]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    # What ended well with its machine is started by no other policy when that is back.
    lasting = COMPOSE["services"].keys() - {"migrate", "demo"}
    assert {COMPOSE["services"][name]["restart"] for name in lasting} == {"unless-stopped"}
