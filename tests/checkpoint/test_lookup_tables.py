"""What a checkpoint remembers of lookup tables."""

from __future__ import annotations

import pathlib

import orjson
import pytest

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.checkpoint.lookup_tables import TableLog
from mixpanel_sink.errors import CheckpointError, DestinationError

HERE = Destination.of()
DAY = 86_400.0


def opened(folder: pathlib.Path, id: str = "t1", project: str = "42") -> TableLog:
    return TableLog(str(folder), HERE, ResolvedCredentials("robot", "secret", project), id)


def test_it_knows_what_was_sent_last(tmp_path: pathlib.Path) -> None:
    log = opened(tmp_path / "made")
    assert not log.holds("a")
    log.begin(0.0)
    log.end("a")
    for each in (log, opened(tmp_path / "made")):
        assert each.holds("a")
        assert not each.holds("b")
    assert not opened(tmp_path / "made", "t2").holds("a")
    assert not opened(tmp_path / "made", project="43").holds("a")
    text = b"".join(each.read_bytes() for each in (tmp_path / "made").iterdir())
    assert b"secret" not in text


def test_a_request_without_an_end_makes_it_unknown(tmp_path: pathlib.Path) -> None:
    log = opened(tmp_path)
    log.begin(0.0)
    log.end("a")
    log.begin(1.0)  # of "b"; the process is killed
    assert not opened(tmp_path).holds("a"), "Mixpanel may hold b"
    assert not opened(tmp_path).holds("b")


def test_a_hundred_calls_in_a_day_of_all_tables_of_a_project(tmp_path: pathlib.Path) -> None:
    for n in range(100):
        opened(tmp_path, f"t{n % 3}").begin(float(n))
    with pytest.raises(DestinationError, match=r"limit. Run it again in 23\.9 hours"):
        opened(tmp_path, "t9").begin(500.0)
    opened(tmp_path, "t9", project="43").begin(500.0)
    opened(tmp_path, "t9").begin(DAY + 0.5)
    with pytest.raises(DestinationError):
        opened(tmp_path, "t9").begin(DAY + 0.6)
    opened(tmp_path, "t1").begin(DAY + 60.0)
    (kept,) = [each for each in tmp_path.iterdir() if orjson.loads(each.read_bytes())["id"] == "t1"]
    assert len(orjson.loads(kept.read_bytes())["calls"]) < 40, "old calls are forgotten"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is damaged. Remove it"),
        (b'{"version":1}', "is damaged. Remove it"),
        (b'{"version":1,"mark":null,"calls":["x"]}', "is damaged. Remove it"),
        (b'{"version":9,"mark":null,"calls":[]}', "another version of mixpanel_sink"),
    ],
    ids=["no-json", "no-mark", "no-time", "newer"],
)
def test_a_file_that_cannot_be_read(tmp_path: pathlib.Path, content: bytes, says: str) -> None:
    opened(tmp_path).begin(0.0)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        opened(tmp_path)


def test_a_folder_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be used"):
        opened(tmp_path / "file")
