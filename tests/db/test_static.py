"""Static files as production serves them: hashed names that stay valid in style sheets and
modules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from runner.tree import ROOT

HASHED = re.compile(r"\.[0-9a-f]{12}\.")
COLLECT = """
import sys
from pathlib import Path
from runner.serve import collect_static
from runner.tree import Tree

tree = Tree(Path(sys.argv[1]))
collect_static(tree)
print(tree.env["STATIC_ROOT"])
"""


def test_the_files_that_serve_collects_find_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COLLECT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == tmp_path / "static"
    names = json.loads((folder / "staticfiles.json").read_text())["paths"]
    modules = re.findall(r'from "\./([^"]+)"', (folder / names["js/app.js"]).read_text())
    fonts = re.findall(r'url\("([^"]+)"\)', (folder / names["css/tokens.css"]).read_text())
    assert len(modules) >= 4 and len(fonts) == 2
    for name in modules:
        assert HASHED.search(name) and (folder / "js" / name).is_file()
    for name in fonts:
        assert HASHED.search(name) and (folder / "css" / name).is_file()
