"""What comes with the code: secrets that slipped in, licences, known weaknesses of dependencies.

    python -m scripts.supply secrets|licences|audit [--accept]

Exit code 0: nothing found (`audit` also where no advisory source answers, which it says). Secrets
that are none (public test keys, examples) are listed by hash in `.secrets.json`; `--accept`
rewrites it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-production.lock"
ACCEPTED = ROOT / ".secrets.json"
#: Vectors of the protocol are made of keys; lock files and other people's scripts of hashes.
_NOT_OURS = re.compile(
    r"^(tests/vectors/|static/vendor/|contracts/artifacts/|\.secrets\.json)|\.lock$|-lock\.json$"
)
_BINARY = (".png", ".woff2", ".webp", ".npz", ".wav", ".jpg", ".ico", ".zip", ".bin")
#: Licences that allow running and shipping the site under its own.
ALLOWED = (
    *("MIT", "BSD", "Apache", "Python Software Foundation", "PSF-2.0", "ISC", "Unlicense"),
    *("MPL-2.0", "Mozilla Public License 2.0", "LGPL-3.0", "CNRI-Python", "0BSD", "Zlib", "CC0"),
)


def tracked() -> list[str]:
    listed = subprocess.run(
        ("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [
        name
        for name in listed.stdout.split("\0")
        if name and not _NOT_OURS.search(name) and not name.endswith(_BINARY)
    ]


def secrets(accept: bool) -> int:
    """New secrets in tracked files, one line each."""
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import default_settings

    found = SecretsCollection(root=str(ROOT))
    with default_settings():
        for name in tracked():
            if (ROOT / name).is_file():
                found.scan_file(name)
    seen = {(name, secret.secret_hash): secret for name, secret in found}
    if accept:
        listed = sorted([name, digest] for name, digest in seen)
        ACCEPTED.write_text(json.dumps(listed, indent=1) + "\n")
        return 0
    known = {(name, digest) for name, digest in json.loads(ACCEPTED.read_text())}
    for name, digest in sorted(seen.keys() - known):
        secret = seen[name, digest]
        print(f"{name}:{secret.line_number}: looks like a secret ({secret.type})")
    return 1 if seen.keys() - known else 0


def packages() -> list[str]:
    return re.findall(r"^([\w.\-]+)==", LOCK.read_text(), re.M)


def licences() -> int:
    """Production packages whose licence is not among ALLOWED."""
    done = subprocess.run(
        ("pip-licenses", "--from=mixed", "--format=json", "--packages", *packages()),
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(done.stdout)
    wrong = [
        entry
        for entry in listed
        if not any(allowed in entry["License"] for allowed in ALLOWED)
        or re.search(r"(?<!L)GPL", entry["License"])
    ]
    for entry in wrong:
        print(f"{entry['Name']} {entry['Version']}: {entry['License']}")
    return 1 if wrong or len(listed) < len(packages()) // 2 else 0


def audit() -> int:
    """Known weaknesses of what production installs, as PyPI's advisories name them."""
    done = subprocess.run(
        ("pip-audit", "-r", LOCK, "--require-hashes", "--disable-pip", "-f", "json"),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        listed = json.loads(done.stdout)["dependencies"]
    except ValueError:
        listed = []
    asked = [entry for entry in listed if "vulns" in entry]
    for entry in asked:
        for weakness in entry["vulns"]:
            fixed = ", ".join(weakness["fix_versions"]) or "no release yet"
            print(f"{entry['name']} {entry['version']}: {weakness['id']}, mended in {fixed}")
    if not asked:
        print("note: no advisory source answers from here, so nothing was audited")
    return 1 if any(entry["vulns"] for entry in asked) else 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["secrets", *rest] if rest in ([], ["--accept"]):
            return secrets(accept=bool(rest))
        case ["licences"]:
            return licences()
        case ["audit"]:
            return audit()
    print("usage: python -m scripts.supply secrets [--accept] | licences | audit")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
