"""Files: which ones a pattern means, and how they are opened. Local ones need no Beam.

Everything else goes through Beam's file systems (gs://, s3://, ...).
"""

from __future__ import annotations

import bz2
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from blake3 import blake3
from isal import igzip

from mixpanel_sink import extras
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import is_passing, reached, short
from mixpanel_sink.read.lines import CHUNK_BYTES
from mixpanel_sink.read.listing import File, Listing
from mixpanel_sink.settings.names import is_text

_EDGE_BYTES = 1 << 16
_COUNTED_ROWS = 1000
_COUNTED_BYTES = 4 << 20
"""Rows, and the bytes at a file's beginning, by which its rows are estimated."""
_IN_MEMORY = 64 << 20
"""A compressed file of a format that needs random access is unpacked in memory up to this size, and
to a temporary file beyond it."""
_GLOB = re.compile(r"[*?\[]")
_ONCE = (
    "is a pipe or a device, which can be read only once; the input is read several times. Write it "
    "to a file first."
)
_ZIP = b"PK\x03\x04"
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", _ZIP: "zip"}
PACKED_SUFFIXES = (".gz", ".gzip", ".bz2", ".zst", ".zstd")


class NoMatchError(InputError):
    """A pattern that matches nothing."""


def match_files(patterns: str | Sequence[str]) -> list[str]:
    """The paths of `match_sizes`."""
    return [file.path for file in match_sizes(patterns)]


def match_some(pattern: str, empty_match_treatment: str) -> list[str]:
    """`match_files` of one pattern, by one of Beam's `EmptyMatchTreatment`s.

    Raises:
        InputError: if it matches nothing and must match, or the place cannot be listed.
    """
    try:
        return match_files(pattern)
    except NoMatchError:
        if empty_match_treatment == "ALLOW":
            return []
        if empty_match_treatment == "ALLOW_IF_WILDCARD" and _GLOB.search(pattern):
            return []
        raise


def match_sizes(patterns: str | Sequence[str]) -> Sequence[File]:
    """The files of one or more patterns, each once, sorted within their pattern.

    A pattern is a file, a folder (all files below it), or a glob: `*` and `?` match within a name,
    `**` any number of folders, none included. Files and folders whose names begin with a dot or an
    underscore are left out unless the pattern names them, as Spark and Hive do; `_key=value` is a
    partition and stays in. Local paths are made absolute, so that ids are stable.

    Raises:
        InputError: if a pattern matches nothing, or the place cannot be listed.
    """
    given = [patterns] if isinstance(patterns, str) else patterns
    if len(given) == 1:
        return _matches(given[0])
    found: dict[str, File] = {}
    for pattern in given:
        for file in _matches(pattern):
            found.setdefault(file.path, file)
    return Listing.of(found.values())


def meant_by(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether `match_sizes` would find this path by these patterns, if it existed."""
    wanted = [(pattern, _base_of(pattern), _regex(pattern)) for pattern in map(_whole, patterns)]
    folders = tuple(pattern.rstrip("/") + "/" for pattern, _, _ in wanted)

    def is_meant(path: str) -> bool:
        return path.startswith(folders) or any(
            regex.fullmatch(path) is not None and _shows(path, pattern, base)
            for pattern, base, regex in wanted
        )

    return is_meant


def _whole(pattern: str) -> str:
    """A pattern with a local path made absolute."""
    return pattern if "://" in pattern else os.path.abspath(os.path.expanduser(pattern))


def _matches(pattern: str) -> Listing:
    local = "://" not in pattern
    pattern = _whole(pattern)
    if not local:
        extras.require(pattern)
    try:
        with reached(pattern):
            found = Listing.of(_local(pattern) if local else _remote(pattern))
    except InputError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise InputError(
            f"{pattern} cannot be listed ({short(error)}). Check the path, its permissions and, "
            "for cloud storage, the credentials."
        ) from None
    if not found:
        if local and os.path.isdir(pattern):
            if hidden := next((each for each in os.listdir(pattern) if each[:1] in "._"), None):
                raise NoMatchError(
                    f"No file matches {pattern}: names that begin with a dot or an underscore, "
                    f"such as {hidden}, are left out unless they are given whole."
                )
            raise NoMatchError(f"No file matches {pattern}, an empty folder. Check the path.")
        raise NoMatchError(f"No file matches {pattern}. Check the path; quote a glob in the shell.")
    return found.in_order()


def _local(pattern: str) -> Iterator[File]:
    if os.path.exists(pattern) and not (os.path.isfile(pattern) or os.path.isdir(pattern)):
        raise InputError(f"{pattern} {_ONCE}")
    if os.path.basename(pattern) == "-" and not os.path.exists(pattern):
        raise InputError(f"- for standard input {_ONCE}")
    if os.path.isfile(pattern):  # even if its name has a bracket
        yield _stated(pattern)
        return
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "**")
    base = _base_of(pattern)
    wanted = _regex(pattern)
    depth = None if "**" in pattern else pattern.count(os.sep) - base.count(os.sep)
    for folder, folders, names in os.walk(base, followlinks=True):
        if depth is not None and folder.count(os.sep) - base.count(os.sep) >= depth - 1:
            folders.clear()
        folders.sort()  # then a large listing is mostly in order
        for name in sorted(names):
            path = os.path.join(folder, name)
            if wanted.fullmatch(path) and _shows(path, pattern, base):
                yield _stated(path)


def _stated(path: str) -> File:
    if not is_text(path):
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        raise InputError(f"The name of {shown} is not text in UTF-8. Rename the file.")
    state = os.stat(path)
    return File(path, state.st_size, state.st_mtime)


def _remote(pattern: str) -> Iterable[File]:
    from apache_beam.io.filesystems import FileSystems

    def stated(metadata: Any) -> File:
        return File(metadata.path, metadata.size_in_bytes, metadata.last_updated_in_seconds or 0.0)

    def matched(*wanted: str) -> dict[str, Any]:
        return {
            metadata.path: metadata
            for result in FileSystems.match(list(wanted))
            for metadata in result.metadata_list
        }

    if not _GLOB.search(pattern):
        exact = {} if pattern.endswith("/") else matched(pattern)
        if exact:
            return map(stated, exact.values())
        pattern = pattern.rstrip("/") + "/**"
    elif FileSystems.exists(pattern):  # the name of one file that has a bracket
        return [stated(FileSystems.get_filesystem(pattern).metadata(pattern))]
    base = _base_of(pattern)
    found = matched(*{pattern, pattern.replace("/**/", "/")})
    return (
        stated(one)
        for path, one in found.items()  # an empty file `in/` is how consoles keep a folder
        if _shows(path, pattern, base) and (one.size_in_bytes or not path.endswith("/"))
    )


def _base_of(pattern: str) -> str:
    """The folder above the first part of the pattern that is a glob."""
    head = _GLOB.split(pattern, maxsplit=1)[0]
    return head.rpartition("/")[0] or "/"


def _shows(path: str, pattern: str, base: str) -> bool:
    """Whether no part of the path below the base is hidden, but for what the pattern names."""
    named = [part[0] for part in pattern[len(base) :].split("/") if part[:1] in (".", "_")]
    return not any(
        part[:1] in (".", "_") and part[0] not in named and not re.match(r"_[^.]*=", part)
        for part in path[len(base) :].split("/")
    )


def _regex(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression over whole paths."""
    made = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            made, at = made + r"(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif found := re.compile(r"\[[!^]?\]?[^]]*\]").match(pattern, at):
            inside = found[0][1:-1].replace("\\", "\\\\")
            inside = "^" + inside[1:] if inside[:1] in ("!", "^") else inside
            made, at = f"{made}[{inside}]", found.end()
        else:
            letter = pattern[at]
            made += {"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter)
            at += 1
    return re.compile(made, re.DOTALL)


def open_file(path: str) -> Any:
    """Opens a local file, or one of any file system that Beam knows, for reading its bytes as they
    are stored."""
    if "://" not in path:
        return open(os.path.expanduser(path), "rb")
    extras.require(path)
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A file for reading its bytes from the beginning: unpacked if it holds gzip, bzip2 or
    Zstandard, whatever its name says. One that breaks off raises at its end. (Beam's own unpacking
    takes it for a whole one.)

    Raises:
        InputError: for a zip archive.
    """
    with open_file(path) as file:
        packing = _packing(file)
        if packing == "zip":
            raise InputError(
                f"{path} is a zip archive. Unpack it and name the files that were in it, or choose "
                "--format excel if it is a workbook."
            )
        with _unpacked(file, packing) as plain:
            yield plain


@contextmanager
def opened_whole(path: str) -> Iterator[Any]:
    """The same for a format that needs random access."""
    with open_file(path) as opened_file:
        file = _Remembering(opened_file) if "://" in path else opened_file
        packing = _packing(file)
        if packing in (None, "zip"):  # workbooks are zip archives
            try:
                yield file
            except Exception as error:
                if "://" in path and file.failure is not None and not is_passing(error):
                    raise file.failure from error
                raise
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as whole:
            with _unpacked(file, packing) as plain:
                while chunk := plain.read(CHUNK_BYTES):
                    whole.write(chunk)
            whole.seek(0)
            yield whole


def _packing(file: Any) -> str | None:
    beginning = file.read(4)
    file.seek(0)
    return next((name for mark, name in _PACKED.items() if beginning.startswith(mark)), None)


def _unpacked(file: Any, packing: str | None) -> Any:
    if packing == "gzip":
        return igzip.IGzipFile(fileobj=file)
    if packing == "bz2":
        return bz2.BZ2File(file)
    if packing == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    return _Open(file)


class _Remembering:
    """A remote file that remembers that the connection failed: Arrow's reader of ORC, in C++, makes
    an error of the file of it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.failure: Exception | None = None

    def read(self, *size: int) -> Any:
        try:
            return self._file.read(*size)
        except Exception as error:  # of each cloud's client
            if is_passing(error):
                self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Open:
    """Keeps a file open when a `with` block ends, because others own it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: Any) -> None:
        pass


def fingerprint_of(path: str) -> bytes:
    """What tells a file from another under the same path: its size, its beginning and its end."""
    return size_and_mark(path)[1]


def size_and_mark(path: str) -> tuple[int, bytes]:
    """A file's size in bytes, and its `fingerprint_of`."""
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END) or file.tell()
        file.seek(0)
        beginning = file.read(_EDGE_BYTES)
        file.seek(max(0, size - _EDGE_BYTES))
        mark = blake3(b"%d\0%b\0%b" % (size, beginning, file.read(_EDGE_BYTES))).digest()
        return size, mark


def estimated_rows(path: str, rows: Iterator[Any]) -> int:
    """About how many rows a file of text has, by how many of its first bytes the first rows take.

    Args:
        path: of the file.
        rows: an iterator over all of them, of which few are taken.
    """
    taken = sum(1 for _ in itertools.islice(rows, _COUNTED_ROWS))
    if taken < _COUNTED_ROWS:
        return taken
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END) or file.tell()
        file.seek(0)
        with _unpacked(file, _packing(file)) as plain:
            seen = bytes(plain.read(_COUNTED_BYTES))
            packed = min(len(seen), file.tell())
    lines = seen.split(b"\n", taken)
    of_rows = len(seen) - len(lines[-1]) if len(lines) > taken else len(seen)
    return max(taken, int(taken * size * len(seen) / max(1, packed) / max(1, of_rows)))
