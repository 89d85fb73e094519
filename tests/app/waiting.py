"""Waiting for the background, with an end."""

import time

LIMIT = 60
"""Seconds that no job of these tests takes."""


def job_ended(job):
    """The job when it is over; a failure when it does not end."""
    until = time.monotonic() + LIMIT
    while job.is_open:
        assert time.monotonic() < until, f"the job is still {job.state} after {LIMIT} s"
        job.stop.wait(0.01)
    return job
