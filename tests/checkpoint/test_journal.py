"""The journal under every checkpoint: its header, and lines that survive a full disk."""

import dataclasses
import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest

from mixpanel_sink.checkpoint import journal
from mixpanel_sink.checkpoint.journal import VERSION, Journal
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.errors import CheckpointError

OWNER = Owner("input", "mapping", "import", "projects")
UPDATES = dataclasses.replace(OWNER, endpoint="engage")
GIVE_ANOTHER = {
    "import": "Give another folder; ids keep events from doubling.",
    "engage": "Give another folder; updates that add, append or remove would then be "
    "applied again.",
}


class TestTheHeader:
    def test_holds_the_version_and_the_owner(self, tmp_path: pathlib.Path) -> None:
        Journal(str(tmp_path), OWNER)
        header = json.loads((tmp_path / "checkpoint.json").read_bytes())
        assert header == {"version": VERSION, **dataclasses.asdict(OWNER)}

    @pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
    def test_needs_no_hard_links(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def refused(*_: str) -> None:
            raise OSError(code, "no links here")

        monkeypatch.setattr(os, "link", refused)
        Journal(str(tmp_path), OWNER)
        assert json.loads((tmp_path / "checkpoint.json").read_bytes())["version"] == VERSION
        Journal(str(tmp_path), OWNER)
        with pytest.raises(CheckpointError, match="belongs to another mapping"):
            Journal(str(tmp_path), dataclasses.replace(OWNER, mapping="other"))
        assert os.listdir(tmp_path) == ["checkpoint.json"]

    @pytest.mark.parametrize("part", ["input", "mapping", "endpoint", "projects"])
    def test_another_jobs_is_refused(self, tmp_path: pathlib.Path, part: str) -> None:
        Journal(str(tmp_path), OWNER)
        other = dataclasses.replace(OWNER, **{part: "track" if part == "endpoint" else "other"})
        with pytest.raises(CheckpointError, match="belongs to another"):
            Journal(str(tmp_path), other)

    @pytest.mark.parametrize(
        ("version", "said"),
        [
            (1, f"written by an older version of mixpanel_sink (format 1; this one has {VERSION})"),
            (
                99,
                f"written by a newer version of mixpanel_sink (format 99; this one has {VERSION})",
            ),
        ],
    )
    def test_another_versions_is_refused_in_a_sentence(
        self, tmp_path: pathlib.Path, version: int, said: str
    ) -> None:
        header = {"version": version, **dataclasses.asdict(OWNER)}
        (tmp_path / "checkpoint.json").write_text(json.dumps(header))
        with pytest.raises(CheckpointError) as caught:
            Journal(str(tmp_path), OWNER)
        assert said in str(caught.value)
        assert str(caught.value).endswith(
            "Use that version, or give another folder; ids keep events from doubling."
        )

    @pytest.mark.parametrize("owner", [OWNER, UPDATES])
    @pytest.mark.parametrize(
        "header", ["", "{", "null", "[]", "{}", '{"version": null}', '{"version": "new"}', "\0\0"]
    )
    def test_damage_is_one_sentence(
        self, tmp_path: pathlib.Path, header: str, owner: Owner
    ) -> None:
        (tmp_path / "checkpoint.json").write_text(header)
        with pytest.raises(CheckpointError) as caught:
            Journal(str(tmp_path), owner)
        assert "is damaged: its checkpoint.json cannot be read." in str(caught.value)
        assert str(caught.value).endswith(GIVE_ANOTHER[owner.endpoint])


class TestAFullDisk:
    """The real one: a file size limit of the operating system, in a process of its own."""

    SCRIPT = """
import resource, signal, sys
from mixpanel_sink.checkpoint import journal
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.checkpoint.owner import Owner
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal.WAITS = (0.01,)
lines = journal.Journal(sys.argv[1], Owner("input", "mapping", "import", "projects"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
lines.wait(lines.write("a" * 40))
lines.write("b" * 90)
for _ in range(2):
    try:
        lines.wait()
    except CheckpointError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lines.write("c")
lines.wait()
"""

    def test_says_so_and_loses_nothing(self, tmp_path: pathlib.Path) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == second
        assert "cannot be written (File too large). Fix that and run the job again" in first
        read = list(Journal(str(tmp_path), OWNER).read())
        assert read == ["a" * 40, "b" * 90, "c"]


@pytest.mark.parametrize(("longest", "tries"), [(30.0, 4), (0.0, 1)])
def test_it_says_that_it_tries_again_and_not_for_ever(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    longest: float,
    tries: int,
) -> None:
    """A cloud's client retries for two minutes by itself; four of its tries are eight minutes."""
    tried = []

    def refused(*given: object) -> None:
        tried.append(given)
        raise OSError("out of reach")

    monkeypatch.setattr(journal, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(journal, "LONGEST_TRIES", longest)
    monkeypatch.setattr(journal._LocalFolder, "write", refused)
    lines = Journal(str(tmp_path), OWNER)
    lines.write("a")
    with pytest.raises(CheckpointError, match=r"cannot be written \(out of reach\)"):
        lines.wait()
    assert len(tried) == tries
    assert len(caplog.messages) == tries - 1
    assert all("cannot be written (out of reach); next try in" in said for said in caplog.messages)
