"""The Django project, and the pages that combine the apps."""

import gc

# Tasks queued by the web process must find this app's broker, not Celery's default.
from marketplace.celery import app as celery_app

__all__ = ("celery_app",)

# What a process imports stays. With Python's own threshold of 700 new objects all of it would be
# looked through again and again until the last module is read.
gc.set_threshold(20_000, 10, 10)
