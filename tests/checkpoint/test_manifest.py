"""The manifest: few segments, damaged ones found out, and whole whenever a run is killed."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import orjson
import pyarrow as pa
import pytest

from mixpanel_sink.checkpoint import commit, lease, manifest
from mixpanel_sink.checkpoint.commit import OpenRun
from mixpanel_sink.checkpoint.counts import FileCount, FileCounts, path_key
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.half_sent import half_sent
from mixpanel_sink.checkpoint.manifest import FILES, Manifest, RunNote
from mixpanel_sink.checkpoint.plan import Plan, compare
from mixpanel_sink.checkpoint.stored import Changed, Folder
from mixpanel_sink.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Folder:
    return open_folder(str(tmp_path))


def rows(run: str, *paths: str) -> pa.Table:
    same = {"size": 1, "read": 1, "failed": 0, "run": run}
    made = [{"key": path_key(path), "path": path, **same} for path in paths]
    return pa.Table.from_pylist(made, schema=FILES)


def begun(folder: Folder, run: str, paths: list[str], **more: Any) -> OpenRun:
    lease.acquire(folder, run)
    manifest.write_plan(folder, run, [(path, 1, 1.0) for path in paths])
    made = OpenRun(folder.path, RunNote(run), **{"planned": True, "keeps_failed": True, **more})
    commit.begin(folder, Manifest.load(folder), made, {"event": "name"})
    return made


def ended(folder: Folder, run: OpenRun, **counts: FileCount) -> RunNote:
    note = commit.commit(run, FileCounts.merged([FileCounts.of(counts)]))
    lease.release(folder, run.run)
    return note


def imported(folder: Folder) -> list[str]:
    return sorted(Manifest.load(folder).files(folder)["path"].to_pylist())


WHOLE = FileCount(read=5, failed=1, listed=1, mark=b"m" * 16)


class TestSegments:
    def test_are_few_and_hold_the_newest_row_of_each_path(self, folder: Folder) -> None:
        segments: tuple[manifest.Segment, ...] = ()
        for number in range(100):
            segments = manifest.with_files(
                folder, segments, rows(f"r{number}", f"f{number:03}", "again")
            )
            assert len(segments) <= 8
        files = Manifest(segments=segments).files(folder)
        assert len(files) == 101
        (run,) = files.filter(pa.compute.equal(files["path"], "again"))["run"].to_pylist()
        assert run == "r99"

    @pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
    def test_that_are_damaged_are_found_out(self, folder: Folder, harm: str) -> None:
        segments = manifest.with_files(folder, (), rows("r", "a"))
        place = pathlib.Path(folder.path) / segments[0].name
        data = place.read_bytes()
        if harm == "gone":
            place.unlink()
        else:
            place.write_bytes(data[:-9] if harm == "cut" else data[:9] + b"!" + data[10:])
        with pytest.raises(CheckpointError, match="is missing or not as it was written"):
            Manifest(segments=segments).files(folder)


class TestThePointer:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b'{"version": 1, "mapp', "damaged: its manifest.json"),
            (b'{"version": 1}', "damaged: its manifest.json"),
            (b"[]", "damaged: its manifest.json"),
            (b'{"version": 99}', "by a newer version of mixpanel_sink \\(format 99;"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, folder: Folder, data: bytes, said: str) -> None:
        folder.write(manifest.NAME, data)
        with pytest.raises(CheckpointError, match=said):
            Manifest.load(folder)

    def test_of_two_writers_one_finds_out(self, folder: Folder) -> None:
        one, other = Manifest.load(folder), Manifest.load(folder)
        one.save(folder)
        with pytest.raises(Changed):
            other.save(folder)

    def test_a_draft_of_a_killed_write_is_nothing(self, folder: Folder) -> None:
        (pathlib.Path(folder.path) / ".manifest.json.123").write_bytes(b"half")
        assert Manifest.load(folder) == Manifest()


class TestCommit:
    def test_complete_files_enter_and_others_are_left(self, folder: Folder) -> None:
        run = begun(folder, "r1", ["a", "b", "c", "d"])
        note = ended(
            folder, run, a=WHOLE, b=FileCount(read=5, open=2, listed=1), d=FileCount(listed=1)
        )
        assert imported(folder) == ["a", "d"]  # d has no rows, and c was never listed
        assert (note.files, note.left, note.left_paths) == (2, 2, ("b", "c"))
        assert (note.read, note.failed) == (5, 1)
        assert Manifest.load(folder).open is None
        assert folder.names("plan-") == ["plan-r1.parquet"]  # until b and c are complete

    def test_failed_records_that_are_not_kept_leave_their_file(self, folder: Folder) -> None:
        run = begun(folder, "r1", ["a", "d"], keeps_failed=False)
        ended(folder, run, a=WHOLE, d=FileCount(listed=1))
        assert imported(folder) == ["d"]

    def test_given_up_records_of_an_unknown_file_leave_all(self, folder: Folder) -> None:
        run = begun(folder, "r1", ["a"])
        ended(folder, run, **{"a": WHOLE, "": FileCount(open=1)})
        assert imported(folder) == []

    def test_again_is_once(self, folder: Folder) -> None:
        run = begun(folder, "r1", ["a"])
        counts = FileCounts.merged([FileCounts.of({"a": WHOLE})])
        assert commit.commit(run, counts) == commit.commit(run, counts)
        assert len(Manifest.load(folder).runs) == 1

    def test_gives_the_lease_back(self, folder: Folder) -> None:
        """On Dataflow nobody else is there to do it."""
        commit.commit(begun(folder, "r1", ["a"]), FileCounts.of({"a": WHOLE}))
        assert folder.stored(lease.NAME) is None

    @pytest.mark.parametrize(
        ("count", "keeps_failed", "moves"),
        [
            (FileCount(read=5), False, True),
            (FileCount(read=5, failed=1), True, True),
            (FileCount(read=5, failed=1), False, False),
            (FileCount(read=5, open=1), True, False),
        ],
    )
    def test_a_watermark_leaves_no_row_behind(
        self, folder: Folder, count: FileCount, keeps_failed: bool, moves: bool
    ) -> None:
        lease.acquire(folder, "r1")
        run = OpenRun(folder.path, RunNote("r1"), keeps_failed, watermark="orders n")
        commit.commit(run, FileCounts.of({"": count}), ("INT64", 7))
        found = Manifest.load(folder).watermarks
        assert [each["value"] for each in found.values()] == [["INT64", 7]] * moves

    def test_a_run_does_not_end_before_its_start(self, folder: Folder) -> None:
        """Whatever the clock says by then."""
        run = begun(folder, "r1", ["a"])
        later = time.time() + 3600
        run = dataclasses.replace(run, note=dataclasses.replace(run.note, started=later))
        assert commit.commit(run, FileCounts.of({"a": WHOLE})).ended == later
        commit.note_replay(OpenRun(folder.path, RunNote("r2", "replay", later)), 5, 0)
        assert [note.ended for note in Manifest.load(folder).runs] == [later, later]

    def test_a_run_that_lost_its_lease_enters_nothing(self, folder: Folder) -> None:
        run = begun(folder, "r1", ["a"])
        lease.release(folder, "r1")
        lease.acquire(folder, "r2")
        with pytest.raises(CheckpointError, match="Another run has taken over the checkpoint"):
            commit.commit(run, FileCounts.of({"a": WHOLE}))
        assert imported(folder) == []

    def test_a_moved_file_takes_its_row_along(self, folder: Folder) -> None:
        ended(folder, begun(folder, "r1", ["a"]), a=WHOLE)
        lease.acquire(folder, "r2")
        manifest.write_plan(folder, "r2", [], [(("x/a", 1, 9.0), "a")])
        run = OpenRun(folder.path, RunNote("r2"), True, planned=True)
        ended(folder, run)
        files = {row["path"]: row for row in Manifest.load(folder).files(folder).to_pylist()}
        row = files["x/a"]
        assert (row["mark"], row["read"], row["run"], row["changed"]) == (b"m" * 16, 5, "r1", 9.0)
        assert files["a"]["size"] == manifest.MOVED

    def test_a_moved_file_is_not_moved_once_more(self, folder: Folder) -> None:
        """Another file with its content is new; and the old place is not told every day."""
        ended(folder, begun(folder, "r1", ["a"]), a=WHOLE)
        lease.acquire(folder, "r2")
        manifest.write_plan(folder, "r2", [], [(("x/a", 1, 9.0), "a")])
        ended(folder, OpenRun(folder.path, RunNote("r2"), True, planned=True))
        files = Manifest.load(folder).files(folder)

        def plan(*paths: str) -> Plan:
            listing = [(path, 1, 9.0) for path in paths]
            return compare(listing, files, lambda: files, lambda path: b"m" * 16)

        found = plan("x/a", "y/copy")
        assert ([each.path for each in found.new], found.moved, found.gone) == (["y/copy"], [], [])
        found = plan("x/a", "a")  # back again
        assert ([each.path for each in found.touched], found.new) == (["a"], [])

    @pytest.mark.parametrize("step", range(7))
    def test_killed_at_any_write_it_is_whole(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, step: int
    ) -> None:
        """What is killed is the n-th write or removal; the next run does it all again."""
        ended(folder, begun(folder, "r1", ["a"]), a=WHOLE)
        run = begun(folder, "r2", ["b"])
        kind = type(folder)
        calls = 0

        def killing(real: Any) -> Any:
            def call(*given: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > step:
                    raise KeyboardInterrupt
                return real(*given, **named)

            return call

        with monkeypatch.context() as killed:
            for name in ("write", "remove"):
                killed.setattr(kind, name, killing(getattr(kind, name)))
            try:
                ended(folder, run, b=WHOLE)
            except KeyboardInterrupt:
                assert imported(folder) in (["a"], ["a", "b"])
        lease.release(folder, "r2")
        left = [path for path in ("b", "c") if path not in imported(folder)]
        ended(folder, begun(folder, "r3", left), **dict.fromkeys(left, WHOLE))
        assert imported(folder) == ["a", "b", "c"]
        named = [each.name for each in Manifest.load(folder).segments]
        assert folder.names("files-") == sorted(named)


@pytest.mark.parametrize(
    ("failed", "kept", "replayed"), [(0, "", True), (1, "", False), (1, "failed", True)]
)
def test_a_replay_that_loses_what_fails_again_does_not_count(
    folder: Folder, failed: int, kept: str, replayed: bool
) -> None:
    note = RunNote("r1", "replay", failed_output=kept, inputs=("failed/1.jsonl",))
    commit.note_replay(OpenRun(folder.path, note), 5, failed)
    (found,) = Manifest.load(folder).runs
    assert bool(found.inputs) == replayed


def test_a_manifest_of_before_since_is_read(folder: Folder) -> None:
    ended(folder, begun(folder, "r1", ["a"]), a=WHOLE)
    stored = orjson.loads(folder.stored(manifest.NAME).data)  # type: ignore[union-attr]
    del stored["runs"][0]["late_paths"]
    folder.write(manifest.NAME, orjson.dumps(stored))
    (note,) = Manifest.load(folder).runs
    assert (note.run, note.late_paths) == ("r1", ())


class TestTheLogOfChunks:
    @pytest.mark.parametrize("endpoint", ["import", "engage"])
    @pytest.mark.parametrize("was_killed", [True, False])
    @pytest.mark.parametrize("was_imported", [True, False])
    def test_keeps_lines_of_files_that_the_next_run_does_not_read(
        self, folder: Folder, endpoint: str, was_killed: bool, was_imported: bool
    ) -> None:
        from mixpanel_sink.checkpoint.journal import Journal
        from mixpanel_sink.checkpoint.owner import Owner

        if was_imported:  # and has changed since
            ended(folder, begun(folder, "r0", ["a"]), a=WHOLE)
        owner = Owner("", "mapping", endpoint, "projects")
        journal = Journal(folder.path, owner)
        journal.write(["chunk", 5, [], [path_key("a")]])
        journal.wait()
        run = begun(folder, "r1", ["a"])
        if was_killed:
            lease.release(folder, "r1")
        else:
            ended(folder, run, a=FileCount(read=5, open=2, listed=1))
        assert half_sent(folder, Manifest.load(folder)) == (5, ("a",))
        ended(folder, begun(folder, "r2", ["b"]), b=WHOLE)
        assert [line[0] for line in Journal(folder.path, owner).read()] == ["chunk"]
        ended(folder, begun(folder, "r3", ["a"]), a=WHOLE)
        assert list(Journal(folder.path, owner).read()) == []
        assert folder.names("plan-") == []

    def test_keeps_lines_of_incomplete_files_only(self, folder: Folder) -> None:
        from mixpanel_sink.checkpoint.journal import Journal
        from mixpanel_sink.checkpoint.owner import Owner

        owner = Owner("", "mapping", "import", "projects")
        journal = Journal(folder.path, owner)
        for number, names in enumerate([["a"], ["b"], ["a", "b"]]):
            journal.write([f"chunk{number}", 5, [], [path_key(name) for name in names]])
        journal.wait()
        run = begun(folder, "r1", ["a", "b"])
        ended(folder, run, a=WHOLE, b=FileCount(read=5, open=2, listed=1))
        lines = list(Journal(folder.path, owner).read())
        assert [line[0] for line in lines] == ["chunk1", "chunk2"]
        ended(folder, begun(folder, "r2", ["b"]), b=WHOLE)
        assert list(Journal(folder.path, owner).read()) == []
        assert folder.names("plan-") == []
        assert orjson.loads(folder.stored("checkpoint.json").data)["version"] == 2  # type: ignore[union-attr]
