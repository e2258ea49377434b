"""What a run writes: whether it can be written, and what earlier runs left there."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile

from mixpanel_sink import extras
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import match_some

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.jsonl$")
"""How Beam ends the names of the files that it writes."""


def check_output(option: str, path: str, workers_elsewhere: bool = False) -> None:
    """Finds out before anything is sent that an output cannot be written.

    A local folder is made where it is missing, as the writing itself would. Of another file
    system only the kind is checked: this machine may be denied what the workers are not.

    Args:
        option: its name, for the error.
        path: of the file, or the prefix of the files.
        workers_elsewhere: whether other machines write it.

    Raises:
        SettingError: why it cannot be.
    """
    option = option.replace("_", "-")
    if "://" in path:
        extras.require(path)
        from apache_beam.io.filesystems import FileSystems

        try:
            FileSystems.get_filesystem(path)
        except ValueError:
            scheme = path.split("://")[0]
            raise SettingError(
                f"--{option} {path}: no file system is known for {scheme}://. Give a local path or "
                "gs://BUCKET/PATH."
            ) from None
        return
    if workers_elsewhere:
        raise SettingError(
            f"--{option} {path} is on this machine, and the workers that write it are on others, "
            "where it would be lost with them. Give gs://BUCKET/PATH."
        )
    if option == "report" and (path.endswith("/") or os.path.isdir(path)):
        raise SettingError(f"--report {path} is a folder. Give a file in it, such as run.html.")
    folder = os.path.dirname(os.path.expanduser(path)) or "."
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingError(
            f"--{option} {path} cannot be written ({error.strerror}). Give a folder that you may "
            "write to."
        ) from None


def write_text(path: str, text: str) -> None:
    """Writes a file, locally or to any file system that Beam knows. Where that fails, none is left.

    Raises:
        OSError: why; and what each cloud's client raises.
    """
    path, data = os.path.expanduser(path), text.encode("utf-8", "replace")
    if "://" in path:
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as remote:
            remote.write(data)
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError:
        if os.path.isfile(path):
            os.unlink(path)
        raise


def failed_prefix(prefix: str, run: str = "") -> str:
    """Where a run keeps failed records. Runs with a checkpoint keep theirs beside each other: what
    failed yesterday may not have been replayed yet."""
    return f"{prefix}-{run[:12]}" if run else prefix


def whole_prefix(prefix: str | None) -> str:
    """A prefix as a checkpoint remembers it: the next command may run in another folder."""
    if not prefix or "://" in prefix:
        return prefix or ""
    return os.path.abspath(prefix)


def kept_failures(prefix: str, run: str) -> list[str]:
    """The files of failed records that a run with a checkpoint has kept."""
    return match_some(f"{failed_prefix(prefix, run)}-*-of-*.jsonl", "ALLOW")


def remove_old(prefix: str) -> None:
    """Removes the failed records of an earlier run under the same prefix: mixed with those of this
    one, or left behind by a run without failures, they would be replayed again.

    Says which. Where this machine may not look or remove, they stay.
    """
    from apache_beam.io.filesystems import FileSystems

    with contextlib.suppress(Exception):  # of each cloud's client
        (found,) = FileSystems.match([f"{prefix}-*-of-*.jsonl"])
        old = [file.path for file in found.metadata_list if _SHARD.search(file.path)]
        if old:
            FileSystems.delete(old)
            print(f"Removed the failed records of an earlier run: {', '.join(old)}")


def tidy(prefix: str | None) -> None:
    """Removes a local folder for failed records in which there are none."""
    if prefix and "://" not in prefix and (folder := os.path.dirname(prefix)):
        with contextlib.suppress(OSError):  # such as: it is not empty
            os.rmdir(folder)
