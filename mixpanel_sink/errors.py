"""The package's exceptions.

    MixpanelSinkError
    ├── SettingError            a setting is wrong; nothing has been sent (also a ValueError)
    │   ├── MappingError        ... in the mapping
    │   ├── CredentialsError    ... in the credentials or a secret reference
    │   └── CheckpointError     ... the checkpoint is another job's, or cannot be used
    ├── InputError              the input cannot be read; says which file
    ├── OutputError             a file cannot be written, such as to a full disk
    ├── FailedRecordError       a record failed, and on_failure is "fail"
    ├── AccountingError         read is not accepted + failed; the run must not be trusted
    └── DestinationError        Mixpanel refuses the job, not a record; the job stops
        └── AuthenticationError ... because of the credentials or the region

A record that cannot be sent does not stop the job: it becomes a
`FailedRecord`. `RecordError` carries its reason inside the package only.

Every message gives the cause, the rule and the fix, and never holds a secret. Each class
takes one string, because Beam rebuilds exceptions from their message.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class MixpanelSinkError(Exception):
    """Base of everything that this package raises on purpose."""


class SettingError(MixpanelSinkError, ValueError):
    """A setting is wrong. Raised when the pipeline is built, before anything is sent."""


class MappingError(SettingError):
    """The mapping contradicts itself, or does not fit the input's columns."""


class CredentialsError(SettingError):
    """Credentials are incomplete, or a secret reference does not resolve."""


class CheckpointError(SettingError):
    """The checkpoint belongs to another job, or cannot be read or written."""


class InputError(MixpanelSinkError):
    """An input file is missing, or cannot be read."""


class OutputError(MixpanelSinkError):
    """A file cannot be written, such as to a disk that is full."""


class FailedRecordError(MixpanelSinkError):
    """A record failed where failed records have nowhere to go."""


class AccountingError(MixpanelSinkError):
    """Records read and records accounted for differ."""


class DestinationError(MixpanelSinkError):
    """Mixpanel, or whatever answers at the endpoint, refuses the job as a whole."""


class AuthenticationError(DestinationError):
    """The endpoint does not accept the credentials: wrong secret, project or region."""


class RecordError(Exception):
    """One record cannot be sent. `reason` is a stable code, `field` names the culprit."""

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


def kind_of(value: Any) -> str:
    """The type of a value with its article, for a message: "a str", "an int", or "None"."""
    return "None" if value is None else with_article(type(value).__name__)


def with_article(name: str) -> str:
    """A name after "a" or "an".

    >>> with_article("EventMapping")
    'an EventMapping'
    """
    return f"{'an' if name[0] in 'AEIOUaeio' else 'a'} {name}"


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """While something is written: says what it is, and how to go on if it cannot be.

    Raises:
        OutputError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(unwritten(what, error)) from None


def unwritten(what: str, error: OSError) -> str:
    """What to say of a file that could not be written."""
    number = error.errno or 0
    why = os.strerror(number) if number else " ".join(str(error).split())[:160]
    if number in _NO_SPACE:
        fix = "Free some space there, or write to another place"
    elif number == errno.EFBIG:
        fix = "Raise the limit of a file's size (ulimit -f), or write to another place"
    else:
        fix = "Write to another place, or change its permissions"
    return f"{what} could not be written ({why}). {fix}."


def is_of_writing(error: OSError) -> bool:
    """Whether a write failed, and no read or connection can have."""
    return error.errno in (*_NO_SPACE, errno.EFBIG, errno.EROFS)
