"""How a request is authenticated."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ResolvedCredentials:
    """Secrets in the clear. Lives on workers only, never in a pickle, a repr or a log."""

    user: str = dataclasses.field(repr=False)
    password: str = dataclasses.field(repr=False)
    project_id: str | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    kind: str = "credentials"

    def __reduce__(self) -> str:
        raise TypeError("Resolved secrets are not to be pickled; pass the references.")
