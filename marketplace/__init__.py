"""The Django project, and the pages that combine the apps."""

# Tasks queued by the web process must find this app's broker, not Celery's default.
from marketplace.celery import app as celery_app

__all__ = ("celery_app",)
