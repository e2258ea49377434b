"""Where accepted chunks are remembered."""

from __future__ import annotations

import dataclasses

from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where accepted chunks are remembered, and what of.

    Args:
        path: a folder, local or gs://; made if there is none.
        input: a text that stands for the input, such as `fingerprint` makes of its files:
            a checkpoint of other input is refused. "" checks the mapping and project only.
        lease: the run that holds the checkpoint, whose workers renew its lease; the commands set
            it.

    >>> Checkpoint("gs://bucket/checkpoints/2024").path
    'gs://bucket/checkpoints/2024'
    """

    path: str
    input: str = ""
    lease: str = ""

    def __post_init__(self) -> None:
        make_plain(self)
        if not isinstance(self.path, str) or not self.path.strip():
            raise SettingError("checkpoint is a folder, local or gs://.")
