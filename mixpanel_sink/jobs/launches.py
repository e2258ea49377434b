"""What became of the job that this process hands to a remote runner, for whoever interrupts it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_words: list[str] = []
_TIMED_OUT = 408


@contextlib.contextmanager
def submitting(project: str | None, region: str | None) -> Iterator[list[str]]:
    """While the runner submits a job, nobody here can know whether it has it.

    Yields:
        A list that takes the job's id.
    """
    where = f"--project={project} --region={region}"
    job = list[str]()
    _words[:] = [
        f"The job may have been submitted: gcloud dataflow jobs list {where} --status=active lists "
        f"it then. It would run on; gcloud dataflow jobs cancel JOB_ID {where} ends it. If it is "
        "not listed, nothing was sent: run the same command again."
    ]
    try:
        yield job
    except Exception as error:
        if _is_refusal(error):
            forget()
        raise
    if job:
        _words[:] = [
            f"The job {job[0]} was submitted and runs on. To end it: gcloud dataflow jobs cancel "
            f"{job[0]} {where}"
        ]


def _is_refusal(error: Exception) -> bool:
    """Whether Google said that it has not taken what it was asked for."""
    code = getattr(error, "code", None)  # of google.api_core's errors
    return isinstance(code, int) and 400 <= code < 500 and code != _TIMED_OUT


def standing() -> str | None:
    """What can be said of the job, and how to end it; None if none was submitted."""
    return _words[0] if _words else None


def forget() -> None:
    """Forgets the job of an earlier command of this process."""
    _words.clear()
