"""Static files with hashed names that stay valid inside ES modules too."""

from __future__ import annotations

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class ModuleManifestStorage(ManifestStaticFilesStorage):
    # Off by default in Django 5.2: without it `import "./kit.js"` would miss the hashed file.
    support_js_module_import_aggregation = True
    # Our own modules only: django-htmx ships extensions that import "htmx" by a bare name, which is
    # no file and would stop `collectstatic`.
    _js_module_import_aggregation_patterns = (
        "js/*.js",
        ManifestStaticFilesStorage._js_module_import_aggregation_patterns[1],  # type: ignore[attr-defined]
    )
