"""What is shipped works: the image's files are enough, its packages are those of the lock, the
compose file and the unit are what their readers expect."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "provider"
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import eth_account, uvloop, httptools, provider, protocol
for package in (provider, protocol):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(("provider.smallmodel", "provider.answerer")):
            importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def locking() -> Any:
    spec = importlib.util.spec_from_file_location("lock", DEPLOY / "lock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the Dockerfile copies, and no others."""
    folder = tmp_path_factory.mktemp("app")
    copies = re.findall(r"^COPY (\S+) (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for source, target in copies:
        if target.startswith("/"):
            assert (ROOT / source).is_file()
        else:
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / target, ignore=skip)
    return folder


def test_the_lock_is_the_projects_own(locking: Any) -> None:
    assert (DEPLOY / "requirements.lock").read_text() == locking.lock()


def test_the_image_has_all_it_imports(image: Path, locking: Any) -> None:
    command = [sys.executable, "-c", IMPORT_ALL]
    done = subprocess.run(command, cwd=image, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    owners = packages_distributions()
    used = {
        canonicalize_name(owner)
        for name in json.loads(done.stdout)
        if name not in sys.stdlib_module_names
        for owner in owners.get(name, ())
    }
    # What aiohttp takes where it is there, and what a venv puts into every process.
    assert used - {"brotli", "setuptools", "pip"} <= locking.closure()


def test_the_image_starts(image: Path) -> None:
    command = [sys.executable, "-m", "provider", "check", "--config", "nowhere.yaml", "--json"]
    done = subprocess.run(command, cwd=image, capture_output=True, text=True, timeout=60)
    (finding,) = json.loads(done.stdout)["findings"]
    assert "cannot be read" in finding["said"] and done.returncode == 1


def test_the_compose_file_is_one() -> None:
    path = DEPLOY / "docker-compose.yml"
    schema = ["--builtin-schema", "vendor.compose-spec"]
    command = [sys.executable, "-m", "check_jsonschema", *schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    services = yaml.safe_load(path.read_text())["services"]
    # Nothing of it is open to the world, and the operator's port is published nowhere.
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:8080:8080"]
    assert services["broker"]["read_only"] and services["broker"]["cap_drop"] == ["ALL"]
    for name in ("prometheus.yml", "alerts.yml"):
        assert (DEPLOY / name).is_file()


def test_the_unit_takes_away_what_the_broker_does_not_need() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "broker.service")
    service = unit["Service"]
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "DynamicUser"):
        assert service[name] == "yes", name
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    assert service["ExecStart"].endswith("-m provider --config /etc/zg-broker/provider.yaml")
    # systemd leaves that folder to root (systemd.exec), and the broker has to read the file in it.
    assert service["ConfigurationDirectoryMode"] == "0755"
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", str(DEPLOY / "broker.service")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        said = [line for line in done.stderr.splitlines() if "broker.service" in line]
        assert all("is not executable" in line for line in said), said
