"""Static files as production serves them: hashed names that stay valid in style sheets and
modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import override_settings

HASHED = re.compile(r"\.[0-9a-f]{12}\.")


def test_collected_files_find_each_other(tmp_path: Path, settings: Any) -> None:
    storages = {**settings.STORAGES}
    storages["staticfiles"] = {"BACKEND": "marketplace.staticfiles.ModuleManifestStorage"}
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=storages):
        call_command("collectstatic", interactive=False, verbosity=0)
        application = Path(staticfiles_storage.url("js/app.js")).name
        tokens = Path(staticfiles_storage.url("css/tokens.css")).name
    modules = re.findall(r'from "\./([^"]+)"', (tmp_path / "js" / application).read_text())
    fonts = re.findall(r'url\("([^"]+)"\)', (tmp_path / "css" / tokens).read_text())
    assert len(modules) >= 4 and len(fonts) == 2
    for name in modules:
        assert HASHED.search(name) and (tmp_path / "js" / name).is_file()
    for name in fonts:
        assert HASHED.search(name) and (tmp_path / "css" / name).is_file()
