"""Runners wrap what their workers raise, each in its own way: our own sentences out of that."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

from mixpanel_sink import errors

WRITES_FAILED = "Write failed"
"""The step that writes failed records."""
_LOGGER = logging.getLogger(__name__)
_KNOWN = "|".join(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.MixpanelSinkError)
)
_RAISED = re.compile(
    rf"(?:mixpanel_sink\.errors\.)?(?:{_KNOWN}): (.+?)(?: \[while running|$)", re.M
)
_RAISED_AS = re.compile(rf"(?:mixpanel_sink\.errors\.)?({_KNOWN}): ")
_LOST = re.compile("Channel closed prematurely|SDK worker disconnected|StatusCode.UNAVAILABLE")
"""What runners say when one of their processes is gone."""
_UNWRITTEN = re.compile(
    r"(?:\w+(?:Error|Exception): )+(?:\[Errno (\d+)\] )?([^\n]*?) "
    rf"\[while running '(?:[^']*/)?{WRITES_FAILED}/"
)
_NOISE = "No shards found to finalize"
"""What Beam logs when there is not one failed record to write."""


def interrupted(error: BaseException) -> bool:
    """Whether it is a Ctrl-C, or what a runner made of one."""
    return any(
        isinstance(seen, KeyboardInterrupt) or str(seen).startswith("KeyboardInterrupt")
        for seen in _chain(error)
    )


def job_error(error: BaseException) -> str | None:
    """Our own sentence out of what a runner raised; None if the fault is not one of ours."""
    for seen in _chain(error):
        if isinstance(seen, errors.MixpanelSinkError):
            return str(seen).split(" [while running")[0].strip()
        found = _RAISED.findall(str(seen))
        if found:
            return str(found[-1]).strip().replace("\\n", " ").strip("'\"")
    return None


def kind(error: BaseException) -> str:
    """The name of our own class of error in what a runner raised; the base class's if there is
    none."""
    for seen in _chain(error):
        if isinstance(seen, errors.MixpanelSinkError):
            return type(seen).__name__
        if found := _RAISED_AS.findall(str(seen)):
            return str(found[-1])
    return errors.MixpanelSinkError.__name__


def sentence(error: BaseException, failed_output: str | None = None) -> str:
    """What to tell the user. What is not the sink's fault is logged in the runner's own words.

    Args:
        error: of the runner.
        failed_output: where failed records were to be written.
    """
    known = job_error(error)
    if known is not None:
        return known
    if found := next(filter(None, (_UNWRITTEN.search(str(seen)) for seen in _chain(error))), None):
        cause = OSError(int(found[1]), found[2]) if found[1] else OSError(found[2])
        return errors.unwritten(f"the failed records {failed_output}*", cause)
    _LOGGER.error("The runner's own words:", exc_info=error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if _LOST.search(text):
        return "A worker or the runner ended before the job did. Was it killed, or out of memory?"
    return f"the runner failed ({text}). Its log is above."


@contextlib.contextmanager
def known_errors_once() -> Iterator[None]:
    """Keeps Beam from logging, with a traceback, what is said in one sentence at the end."""

    def is_new(record: logging.LogRecord) -> bool:
        if not record.name.startswith("apache_beam"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        known = error is not None and (interrupted(error) or job_error(error) is not None)
        noise = "KeyboardInterrupt" in text or text.startswith(_NOISE) or _RAISED.search(text)
        noise = noise or _UNWRITTEN.search(text)
        return not (known or noise)

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
