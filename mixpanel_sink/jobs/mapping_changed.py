"""A checkpoint whose mapping is another one than today's: what is done, and what is said."""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.checkpoint.half_sent import HalfSent, half_sent
from mixpanel_sink.checkpoint.manifest import Manifest, usable
from mixpanel_sink.checkpoint.mapping_change import changes, meaning
from mixpanel_sink.checkpoint.owner import HEADER, mapping_settings
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.configured import AnyMapping, endpoint_of, privacy_of
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.profile_mapping import UpdateMapping

_NAMED = 3
"""Files that a message names."""


def checked_mapping(
    settings: Settings, mapping: AnyMapping | None, folder: Folder, known: Manifest
) -> tuple[bool, list[str]]:
    """Whether all files are to be sent again, with another mapping than before; and what to say.

    Raises:
        CheckpointError: if it is another and --on-mapping-changed is missing, or updates would be
            applied twice.
    """
    now = mapping_settings(mapping, privacy_of(settings))
    if known.mapping is None or known.mapping == now:
        return False, []
    with usable(folder):
        if folder.read(HEADER) is None:
            return False, []  # without a header nothing was ever sent
    safe = endpoint_of(settings).repeats_safely
    means = meaning(known.mapping, now, safe)
    if settings.on_mapping_changed == "fail":
        count = sum(segment.rows for segment in known.segments)
        raise CheckpointError(
            f"The mapping or privacy settings are not those of the {files_of(count)} in the "
            f"checkpoint {folder.path}: {'; '.join(changes(known.mapping, now))}. {means} With "
            "--on-mapping-changed=new, files that are new are sent with the new mapping; with "
            "=all, every file is sent again. Nothing was sent."
        )
    if settings.on_mapping_changed == "all":
        return True, []
    with usable(folder):
        half = half_sent(folder, known)
    if not half.accepted:
        return False, []
    if not safe and settings.on_ambiguous != "retry":
        _check_updates(mapping, half)
    return False, [
        f"{_begun(half)} With the new mapping it is all sent again. {means}",
    ]


def _check_updates(mapping: AnyMapping | None, half: HalfSent) -> None:
    """Refuses to apply updates twice that add something."""
    adds = ["add", "append", "remove"]
    if isinstance(mapping, UpdateMapping):
        adds = [operation for operation in adds if mapping.columns_of(operation)]
    if adds:
        raise CheckpointError(
            f"{_begun(half)} Sent again with the new mapping, what they {adds[0]} would count "
            "twice. Run once more with the old mapping, which finishes them; or give "
            "--on-ambiguous=retry to send them all the same. Nothing was sent."
        )


def _begun(half: HalfSent) -> str:
    what = f"{half.accepted:,} record{'' if half.accepted == 1 else 's'}"
    where = f" of {files_named(half.paths)}" if half.paths else ""
    return f"A run with the old mapping did not finish: up to {what}{where} were accepted."


def files_of(count: int) -> str:
    """A number of files, as text."""
    return "1 file" if count == 1 else f"{count:,} files"


def files_named(paths: Sequence[str]) -> str:
    """The first files, as text."""
    shown = ", ".join(paths[:_NAMED])
    left = len(paths) - _NAMED
    return f"{shown} and {left:,} more" if left > 0 else shown
