"""The checkpoint: what is known to be accepted is not sent again."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.events import EventLog
from mixpanel_sink.checkpoint.log import Log, Lookup
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.updates import UpdateLog
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.process import forget
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.credentials import ProjectToken
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from tests.cloud_storage import emulated_bucket
from tests.write.test_write import SECRET, record, run, write

LIMITS = Limits(batch_events=10)
OWNER = Owner("input", "mapping", "import", "projects")


def chunk(number: int, count: int = 2) -> EventChunk:
    events = [json.dumps({"n": number, "i": i}).encode() for i in range(count)]
    return EventChunk.of(events, [Run(count, 5, ("",), "f.parquet", number * 100)])


def enter(log: Log, chunk: EventChunk, *failed: FailedRecord, **left: Any) -> None:
    log.end(log.begin(chunk), chunk, failed, **left)


class TestTheLog:
    def test_knows_what_was_entered_also_after_a_restart(self, tmp_path: pathlib.Path) -> None:
        log = EventLog(Checkpoint(str(tmp_path)), OWNER)
        bad = FailedRecord("refused", "no", field="time", file="f.parquet", row=101)
        one = chunk(1)
        enter(log, one, bad)
        log.flush()
        for each in (log, EventLog(Checkpoint(str(tmp_path)), OWNER)):
            assert each.lookup(chunk(1)) == Lookup(None, chunk(1), 1, (bad,))
            assert each.lookup(chunk(2)) == Lookup(chunk(2))

    @pytest.mark.parametrize("reason", ["gave_up", "project_refused"])
    def test_what_may_pass_later_is_not_entered(self, tmp_path: pathlib.Path, reason: str) -> None:
        log = EventLog(Checkpoint(str(tmp_path)), OWNER)
        enter(log, chunk(1), FailedRecord(reason, "later"))
        enter(log, chunk(2), left=[chunk(2)])
        assert log.lookup(chunk(1)).rest == chunk(1)
        assert log.lookup(chunk(2)).rest == chunk(2)

    def test_another_jobs_lines_are_never_read(self, tmp_path: pathlib.Path) -> None:
        """Also where two jobs took the folder at the same moment, or its header is lost."""
        enter(EventLog(Checkpoint(str(tmp_path)), OWNER), chunk(1))
        (tmp_path / "checkpoint.json").unlink()
        other = EventLog(Checkpoint(str(tmp_path)), dataclasses.replace(OWNER, projects="other"))
        assert other.lookup(chunk(1)) == Lookup(chunk(1))

    def test_half_a_line_of_a_killed_process_is_left_out(self, tmp_path: pathlib.Path) -> None:
        log = EventLog(Checkpoint(str(tmp_path)), OWNER)
        enter(log, chunk(1))
        (path,) = tmp_path.glob("accepted-*")
        whole = path.read_bytes()
        path.write_bytes(whole + whole[: len(whole) // 2])
        again = EventLog(Checkpoint(str(tmp_path)), OWNER)
        assert again.lookup(chunk(1)).rest is None

    @pytest.mark.parametrize("line", ["no json", "[1]", '{"begun": 1}', '["a", 1, [[1, 2, 3]]] x'])
    @pytest.mark.parametrize("endpoint", ["import", "engage"])
    def test_damage_is_one_sentence(self, tmp_path: pathlib.Path, line: str, endpoint: str) -> None:
        owner = dataclasses.replace(OWNER, endpoint=endpoint)
        open_ = EventLog if endpoint == "import" else UpdateLog
        open_(Checkpoint(str(tmp_path)), owner)
        (tmp_path / f"accepted-{owner.mark}-x.jsonl").write_text(f"{line}\n")
        with pytest.raises(CheckpointError, match="is damaged") as caught:
            open_(Checkpoint(str(tmp_path)), owner)
        assert str(caught.value).count("is damaged") == 1

    def test_a_folder_that_cannot_be_made(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(CheckpointError, match="cannot be used"):
            EventLog(Checkpoint(str(tmp_path / "file" / "folder")), OWNER)

    def test_two_at_a_time_see_each_other(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mixpanel_sink.checkpoint.events.REFRESH_SECONDS", 0.0)
        one, two = (EventLog(Checkpoint(str(tmp_path)), OWNER) for _ in range(2))
        enter(one, chunk(1))
        enter(two, chunk(2))
        for log in (one, two):
            assert log.lookup(chunk(1)).rest is None
            assert log.lookup(chunk(2)).rest is None

    def test_many_threads_lose_no_line(self, tmp_path: pathlib.Path) -> None:
        log = EventLog(Checkpoint(str(tmp_path)), OWNER)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: enter(log, chunk(n)), range(300)))
        log.flush()
        again = EventLog(Checkpoint(str(tmp_path)), OWNER)
        assert all(again.lookup(chunk(n)).rest is None for n in range(300))


class TestInCloudStorage:
    """gs://, against the emulator of Cloud Storage and Beam's own client."""

    def test_is_as_good_as_a_folder(self, mixpanel: Emulator, tmp_path: pathlib.Path) -> None:
        with emulated_bucket(tmp_path):
            place = "gs://events/checkpoints/a"
            log = EventLog(Checkpoint(place), OWNER)
            bad = FailedRecord("refused", "no", file="f.parquet", row=101)
            for number in range(5):
                enter(log, chunk(number), bad)
            log.flush()
            again = EventLog(Checkpoint(place), OWNER)
            for number in range(5):
                assert again.lookup(chunk(number)) == Lookup(None, chunk(number), 1, (bad,))
            other = OWNER.__class__(**{**vars(OWNER), "input": "other"})
            with pytest.raises(CheckpointError, match="belongs to another input"):
                EventLog(Checkpoint(place), other)
            options: dict[str, Any] = {"checkpoint": "gs://events/checkpoints/b", "limits": LIMITS}
            run([record(n) for n in range(25)], write(mixpanel, **options))
            forget()
            ran = run([record(n) for n in range(25)], write(mixpanel, **options))
            assert ran.counters["events_known"] == 25
            assert mixpanel.stats()["requests"] == 3

    def test_a_bucket_that_is_not_there(self, tmp_path: pathlib.Path) -> None:
        with (
            emulated_bucket(tmp_path),
            pytest.raises(CheckpointError, match="cannot be used"),
        ):
            EventLog(Checkpoint("gs://no-such-bucket/a"), OWNER)


class TestInAPipeline:
    def test_a_second_run_sends_nothing(self, mixpanel: Emulator, tmp_path: pathlib.Path) -> None:
        records = [record(n) for n in range(25)]
        options: dict[str, Any] = {"checkpoint": str(tmp_path), "limits": LIMITS}
        first = run(records, write(mixpanel, **options))
        requests = mixpanel.stats()["requests"]
        assert requests == 3
        forget()
        second = run(records, write(mixpanel, **options))
        assert mixpanel.stats()["requests"] == requests
        assert second.totals[0][0]._replace(requests=0) == first.totals[0][0]._replace(requests=0)
        assert second.counters["events_accepted"] == second.counters["events_known"] == 25
        assert second.totals[0][0].requests == 0
        assert not second.counters.get("retries")

    def test_refused_records_are_told_again(
        self, mixpanel: Emulator, tmp_path: pathlib.Path
    ) -> None:
        mixpanel.faults(
            [{"kind": "failed_records", "records": [{"index": 3, "message": "no", "field": "x"}]}]
        )
        records = [record(n) for n in range(8)]
        first = run(records, write(mixpanel, checkpoint=str(tmp_path)))
        forget()
        second = run(records, write(mixpanel, checkpoint=str(tmp_path)))
        assert [f[0] for f in second.failed] == [f[0] for f in first.failed]
        assert len(second.failed) == 1
        assert second.totals[0][0].accepted == 7

    def test_a_job_that_failed_goes_on_where_it_was(
        self, mixpanel: Emulator, tmp_path: pathlib.Path
    ) -> None:
        options: dict[str, Any] = {
            "checkpoint": str(tmp_path), "limits": LIMITS, "max_in_flight": 1,
        }  # fmt: skip
        mixpanel.faults([{"kind": "status", "status": 401, "skip": 4}])
        records = [record(n) for n in range(100)]
        with pytest.raises(Exception, match="does not accept the API secret"):
            run(records, write(mixpanel, **options))
        sent = mixpanel.stats()["requests"]
        forget()
        ran = run(records, write(mixpanel, **options))
        assert mixpanel.stats()["events_distinct"] == 100
        assert mixpanel.stats()["requests"] == sent + 10 - 4
        assert ran.counters["events_known"] == 40

    def test_of_another_mapping_is_refused(
        self, mixpanel: Emulator, tmp_path: pathlib.Path
    ) -> None:
        run([record(0)], write(mixpanel, checkpoint=str(tmp_path)))
        other = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", unit="ms"))
        with pytest.raises(Exception, match="belongs to another mapping"):
            run([record(0)], write(mixpanel, other, checkpoint=str(tmp_path)))

    def test_holds_no_secret(self, mixpanel: Emulator, tmp_path: pathlib.Path) -> None:
        run([record(0)], write(mixpanel, checkpoint=str(tmp_path)))
        credentials = ProjectToken("env:TEST_TOKEN")
        run([record(0)], write(mixpanel, checkpoint=str(tmp_path / "t"), credentials=credentials))
        for path in tmp_path.rglob("*.json*"):
            assert SECRET.encode() not in path.read_bytes()
            assert b"t0ken-" not in path.read_bytes()

    def test_of_other_privacy_settings_is_refused(
        self, mixpanel: Emulator, tmp_path: pathlib.Path
    ) -> None:
        """The events would be others under the same ids, or the same ones under other ids."""
        run([record(0)], write(mixpanel, checkpoint=str(tmp_path)))
        hidden = Privacy(hash=["user"])
        with pytest.raises(Exception, match="another mapping or other privacy settings"):
            run([record(0)], write(mixpanel, checkpoint=str(tmp_path), privacy=hidden))
