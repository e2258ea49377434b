"""Which files a pattern means, and how what is packed is opened."""

from __future__ import annotations

import bz2
import gzip
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pyarrow as pa
import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.files import estimated_rows, match_files, opened, opened_whole
from mixpanel_sink.read.lines import lines_of


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in (
        "a.csv", "b.csv", "c.txt", "in/d.csv", "in/deep/er/e.csv", ".hidden.csv", "_SUCCESS",
        "in/_temporary/f.csv", "in/.git/g.csv", "in/_day=1/h.csv", "odd[1].csv", "a,b.csv",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["a.csv"], ["a.csv"]),
        (["*.csv"], ["a,b.csv", "a.csv", "b.csv", "odd[1].csv"]),
        (["[ab].csv"], ["a.csv", "b.csv"]),
        (["[!a].csv"], ["b.csv"]),
        (["?.csv"], ["a.csv", "b.csv"]),
        (["odd[1].csv"], ["odd[1].csv"]),
        (["a,b.csv"], ["a,b.csv"]),
        (["in/**/*.csv"], ["in/_day=1/h.csv", "in/d.csv", "in/deep/er/e.csv"]),
        (["in/*/*.csv"], ["in/_day=1/h.csv"]),
        (["in"], ["in/_day=1/h.csv", "in/d.csv", "in/deep/er/e.csv"]),
        (["in/"], ["in/_day=1/h.csv", "in/d.csv", "in/deep/er/e.csv"]),
        (["in/**er/*.csv"], ["in/deep/er/e.csv"]),
        (["_*"], ["_SUCCESS"]),
        (["in/_temporary/*"], ["in/_temporary/f.csv"]),
        ([".hidden.csv"], [".hidden.csv"]),
        (["b.csv", "*.csv", "a.csv"], ["b.csv", "a,b.csv", "a.csv", "odd[1].csv"]),
    ],
)
def test_patterns(tree: pathlib.Path, patterns: list[str], names: list[str]) -> None:
    found = match_files([f"{tree}/{pattern}" for pattern in patterns])
    assert found == [f"{tree}/{name}" for name in names]


def test_relative_paths_become_absolute(tree: pathlib.Path, monkeypatch) -> None:
    monkeypatch.chdir(tree / "in")
    assert match_files("../a.csv") == match_files(f"{tree}/a.csv")


@pytest.mark.parametrize("pattern", ["none.csv", "none/*.csv", "in/**/*.parquet"])
def test_nothing_matches(tree: pathlib.Path, pattern: str) -> None:
    with pytest.raises(InputError, match="No file matches"):
        match_files([f"{tree}/a.csv", f"{tree}/{pattern}"])


def test_what_is_there_but_no_input(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / os.fsdecode(b"caf\xe9.csv")).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/_SUCCESS").touch()
    for name, said in {
        "pipe": "is a pipe or a device, which can be read only once",
        "-": "- for standard input is a pipe or a device",
        "odd": "is not text in UTF-8. Rename the file",
        "empty": "No file matches .*, an empty folder",
        "hidden": "names that begin with a dot or an underscore, such as _SUCCESS, are left out",
    }.items():
        with pytest.raises(InputError, match=said):
            match_files(f"{tmp_path}/{name}")


TEXT = b"".join(b"line %06d\n" % i for i in range(100_000))
PACKED = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "gzip in two members": gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
    "bzip2": bz2.compress(TEXT),
    "zstd": pa.Codec("zstd").compress(TEXT).to_pybytes(),
}


@pytest.mark.parametrize("kind", PACKED)
def test_what_is_packed_is_unpacked_whatever_its_name(tmp_path: pathlib.Path, kind: str) -> None:
    path = tmp_path / "no_suffix"
    path.write_bytes(PACKED[kind])
    with opened(str(path)) as file:
        assert b"\n".join(lines_of(file)) + b"\n" == TEXT
    with opened_whole(str(path)) as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == TEXT[-5:]


@pytest.mark.parametrize("kind", sorted(PACKED.keys() - {"plain"}))
def test_what_breaks_off_is_not_taken_for_whole(tmp_path: pathlib.Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(PACKED[kind][:-20])
    with opened(str(tmp_path / "a")) as file, pytest.raises((OSError, EOFError)):
        list(lines_of(file))


@pytest.mark.parametrize("kind", PACKED)
def test_rows_are_estimated_from_the_beginning(tmp_path: pathlib.Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(PACKED[kind])
    assert estimated_rows(str(tmp_path / "a"), iter(range(100_000))) == pytest.approx(
        100_000, rel=0.2
    )
    assert estimated_rows(str(tmp_path / "a"), iter(range(7))) == 7


def test_local_files_need_no_beam(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text("user,at\nu,1\n")
    (tmp_path / "a.jsonl").write_text('{"user": "u"}\n')
    program = (
        "import sys\n"
        "from mixpanel_sink.read.file_source import FileSource\n"
        "for path in sys.argv[1:]:\n"
        "    source = FileSource(path)\n"
        "    assert source.sample(5).num_rows == 1\n"
        "    assert len(list(source.elements())) == 1\n"
        "print([name for name in sys.modules if name.startswith('apache_beam')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"{tmp_path}/a.csv", f"{tmp_path}/a.jsonl"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )
    assert done.stdout.strip() == "[]", done.stderr


class Bucket(LocalFileSystem):
    """Names in cloud storage, of which some stand for folders."""

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        sizes = {"in/": 0, "in/a.csv": 10, "in/day=1/": 0, "in/day=1/b.csv": 10, "in/empty.csv": 0}
        return (FileMetadata(f"bucket://x/{name}", size) for name, size in sizes.items())

    def exists(self, path: str) -> bool:
        return False


def test_what_stands_for_a_folder_is_no_file() -> None:
    """Consoles and Hadoop keep a folder in a bucket as an empty name with a slash at its end."""
    for pattern in ("bucket://x/in", "bucket://x/in/", "bucket://x/in/**"):
        found = [path.removeprefix("bucket://x/in/") for path in match_files(pattern)]
        assert found == ["a.csv", "day=1/b.csv", "empty.csv"]
