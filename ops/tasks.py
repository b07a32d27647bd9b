"""The worker's part: it runs what staff started."""

from __future__ import annotations

from celery import shared_task

from ops import failures, jobs

#: A rebuild of a large index takes long; the limit only ends what hangs for good (seconds).
LONGEST = 24 * 3600

failures.connect()


@shared_task(name="ops.run_job", expires=600, time_limit=LONGEST)
def run_job(job_id: str) -> None:
    """Harmless when it was taken already."""
    jobs.run(job_id)
