"""The Celery application: `celery -A marketplace worker`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import task_postrun, task_prerun

from marketplace import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
# Celery runs Django's checks and does not look at what they say; they import the whole site.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
app = Celery("marketplace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_prerun.connect
def _begun(task_id: str, **_: Any) -> None:
    logs.current.set(f"task:{task_id}")


@task_postrun.connect
def _ended(**_: Any) -> None:
    logs.current.set("-")
