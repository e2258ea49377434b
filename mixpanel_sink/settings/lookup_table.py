"""`TableJob`: which lookup table to replace, and how. No Beam here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import CredentialsError, SettingError
from mixpanel_sink.settings.credentials import Credentials, ProjectToken, check_credentials
from mixpanel_sink.settings.kinds import check_flag, check_kind
from mixpanel_sink.settings.retry import RetryPolicy


@dataclasses.dataclass(frozen=True)
class TableJob:
    """The settings of one replacement; picklable, without secrets.

    Attributes:
        id: of the table.
        credentials: of the project.
        destination: the host.
        key: the column that comes first; None for the first one.
        columns: to send, in their order; () for all.
        retry: how long to try.
        checkpoint: a folder that remembers what the table holds; None to replace it always.
        force: replace it although the checkpoint says that nothing has changed.

    Raises:
        SettingError: for a setting that is wrong.
    """

    id: str
    credentials: Credentials
    destination: Destination
    key: str | None = None
    columns: Sequence[str] = ()
    retry: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    checkpoint: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        check_kind("id", self.id, str, "the table's id as text")
        if not self.id.strip():
            raise SettingError(
                "The table's id is missing. `mixpanel-sink lookup-table list` shows those that "
                "there are."
            )
        check_table_credentials(self.credentials)
        check_kind("retry", self.retry, RetryPolicy, "a RetryPolicy")
        check_flag("force", self.force)
        if isinstance(self.columns, str):
            raise SettingError(f"columns is {self.columns!r}; give a list of names.")
        if not isinstance(self.checkpoint, str | None):
            raise SettingError("checkpoint is a folder, local or gs://.")


def check_table_credentials(credentials: Credentials) -> None:
    """Refuses credentials that Mixpanel does not accept for lookup tables.

    Raises:
        CredentialsError: says which are needed.
    """
    check_credentials(credentials)
    if isinstance(credentials, ProjectToken):
        raise CredentialsError(
            "Lookup tables need a service account with its project's number "
            "(service_account, service_account_secret, project_id); a project token is not enough."
        )
