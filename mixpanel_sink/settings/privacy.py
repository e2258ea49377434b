"""Privacy: named properties are dropped or hashed before anything leaves the worker.

Convert does it first, so that events, failed records, messages and the checkpoint only
ever hold what is left. The names are those of columns; in raw events and updates
those of properties.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mixpanel_sink.errors import SettingError
from mixpanel_sink.secrets import SecretReference, check_reference


@dataclasses.dataclass(frozen=True)
class Privacy:
    """What must not leave the worker as it is.

    Args:
        drop: columns or properties that are left out.
        hash: columns or properties whose values become a hash of 32 hex digits; equal values
            have equal hashes, nulls stay nulls. A column of ids may be hashed, too. What is
            hashed is the text that an id would be: text as it is, else JSON.
        key: a reference to a secret that goes into the hash. Without one, anyone who can
            guess a value (an address, a phone number) can check the guess.

    Raises:
        SettingError: for a name in both lists, or none at all.

    >>> Privacy(drop=["email"], hash=["phone"], key="env:PII_KEY").drop
    ('email',)
    """

    drop: Sequence[str] = ()
    hash: Sequence[str] = ()
    key: SecretReference | None = None

    def __post_init__(self) -> None:
        for part in ("drop", "hash"):
            names = getattr(self, part)
            if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
                raise SettingError(f"Privacy.{part} is a list of columns, such as ['email'].")
            object.__setattr__(self, part, tuple(names))
        if both := sorted(set(self.drop) & set(self.hash)):
            raise SettingError(f"Privacy has {both[0]!r} in both drop and hash. Choose.")
        if not self.drop and not self.hash:
            raise SettingError("Privacy names nothing to drop and nothing to hash.")
        if self.key is not None:
            check_reference(self.key, "The key of Privacy")
