"""The same command every day: new files only, whatever happened since yesterday."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixpanel_sink.checkpoint import commit
from mixpanel_sink.cli import main as command
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs.since import rows_of_table
from mixpanel_sink.process import forget
from mixpanel_sink.read.bigquery import BigQueryTable
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.selection import Selection
from mixpanel_sink.read.source import Listed
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.read.transform import _ListPlanned
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from pipelines import replay_failed
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import shop, write

COLUMNS = MAPPING + "insert_id: n\n"


@pytest.fixture
def day(send: Any, tmp_path: pathlib.Path) -> Any:
    """Runs the import of the folder "in" with the checkpoint "cp"."""
    (tmp_path / "in").mkdir()

    def run(*more: str, **named: Any) -> Any:
        forget()
        return send(f"{tmp_path}/in", f"--checkpoint={tmp_path}/cp", *more, **named)

    return run


def status(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> dict[str, Any]:
    assert command(["status", f"{tmp_path}/cp", "--json"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def test_days(day: Any, server: Emulator, tmp_path: pathlib.Path, capsys: Any) -> None:
    source = tmp_path / "in"
    write(source / "1.parquet", shop(3000))
    write(source / "2.parquet", shop(3000, first=3000))
    run = day()
    assert "0 files were imported before, 2 are new." in run.out
    assert "  Checkpoint: 2 files imported" in run.out
    assert server.stats()["requests"] == 3

    write(source / "3.parquet", shop(500, first=6000))
    run = day()
    assert "2 files were imported before, 1 is new." in run.out
    assert "500 read = 500 accepted + 0 failed" in run.out
    assert server.stats()["requests"] == 4

    (source / "1.parquet").touch()  # the same content
    run = day()
    assert (run.code, run.err) == (0, "")
    assert "3 files were imported before, 0 are new.\nNothing is new; nothing was sent." in run.out

    (source / "2.parquet").unlink()
    (source / "old").mkdir()
    (source / "1.parquet").rename(source / "old" / "1.parquet")
    run = day()
    assert f"1 file moved after the import, not sent again: {source}/1.parquet is " in run.out
    assert f"1 file imported before, not there any more: {source}/2.parquet." in run.out
    assert server.stats()["requests"] == 4

    write(source / "3.parquet", shop(700, first=6000))
    run = day()
    assert run.code == 2
    assert f"1 file changed after the import: {source}/3.parquet. Sent again, all of" in run.err
    run = day("--on-changed=skip")
    assert "1 file changed after the import, skipped" in run.out
    assert server.stats()["requests"] == 4
    run = day("--on-changed=import")
    assert "700 read = 700 accepted + 0 failed" in run.out
    assert "0 are new.\n" in day().out

    known = status(capsys, tmp_path)
    assert (known["files"], known["read"], known["failed"]) == (3, 6700, 0)
    assert [run["files"] for run in known["runs"]] == [2, 1, 0, 0, 1]
    assert (known["held_by"], known["unended"], known["not_replayed"]) == (None, None, [])
    assert sorted(p.name for p in (tmp_path / "cp").glob("accepted-*")) == []


def test_another_mapping(day: Any, server: Emulator, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "in" / "1.parquet", shop(100))
    assert day().code == 0
    other = MAPPING + "exclude: [n]\n"
    run = day(mapping=other)
    assert run.code == 2
    assert "of the 1 file in the checkpoint" in run.err
    assert 'exclude ["n"] is new. $insert_ids stay the same' in run.err
    run = day("--on-mapping-changed=new", mapping=other)
    assert "1 file was imported before, 0 are new." in run.out
    assert "nothing was sent" in day(mapping=other).out  # it has been said
    run = day("--on-mapping-changed=all", mapping=MAPPING)
    assert "With the new mapping, every file is sent again: 1 file." in run.out
    assert "100 read = 100 accepted + 0 failed" in run.out
    stats = server.stats()
    assert (stats["requests"], stats["events_distinct"]) == (2, 100)


def test_files_that_are_all_sent_again_stay_so_until_they_are(
    day: Any, server: Emulator, tmp_path: pathlib.Path
) -> None:
    write(tmp_path / "in" / "1.parquet", shop(100))
    assert day().code == 0
    other = MAPPING + "exclude: [amount]\n"
    server.faults([{"kind": "status", "status": 500, "times": 1000}])
    short = ("--transient-seconds=0.05", "--first-wait=0.01", "--longest-wait=0.02")
    run = day("--on-mapping-changed=all", *short, mapping=other)
    assert run.code == 1, run.err
    server.faults([])
    assert "100 read = 100 accepted + 0 failed" in day(mapping=other).out


def test_what_a_run_left_that_was_killed_after_its_commit_is_removed(
    day: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a run that has nothing else to do."""
    write(tmp_path / "in" / "1.parquet", shop(10))
    with monkeypatch.context() as killed:
        killed.setattr(commit, "compact", lambda *_: None)
        killed.setattr(commit, "_tidy", lambda *_: None)
        assert day().code == 0

    def left() -> set[str]:
        names = {path.name.partition("-")[0] for path in (tmp_path / "cp").iterdir()}
        return names & {"plan", "accepted"}

    assert left() == {"plan", "accepted"}
    assert "Nothing is new" in day().out
    assert left() == set()
    assert "1 file was imported before, 0 are new." in day().out


def test_a_mapping_that_did_not_fit_is_corrected(day: Any, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "in" / "1.parquet", shop(10))
    run = day(mapping=MAPPING.replace(": user", ": usr"))
    assert (run.code, "names the column 'usr'" in run.err) == (2, True)
    run = day()
    assert "10 read = 10 accepted + 0 failed" in run.out, run.err


def test_what_was_given_up_is_sent_by_the_next_run(
    day: Any, server: Emulator, tmp_path: pathlib.Path, capsys: Any
) -> None:
    for number in range(2):
        write(tmp_path / "in" / f"{number}.parquet", shop(50, first=50 * number))
    server.faults([{"kind": "status", "status": 500, "times": 1000}])
    run = day("--transient-seconds=0.05", "--first-wait=0.01", "--longest-wait=0.02")
    assert run.code == 1
    assert "2 files not complete; the next run goes on with" in run.out
    assert status(capsys, tmp_path)["runs"][0]["incomplete_files"] == 2
    assert command(["status", f"{tmp_path}/cp"]) == 0
    assert "Next: run the same import again; it goes on where" in capsys.readouterr().out
    server.faults([])
    run = day()
    assert "0 files were imported before, 2 are new." in run.out
    assert "100 read = 100 accepted + 0 failed" in run.out
    assert "2 files were imported before, 0 are new." in day().out


def test_failures_stay_until_they_are_replayed(
    day: Any, server: Emulator, tmp_path: pathlib.Path, capsys: Any, monkeypatch: Any
) -> None:
    source = tmp_path / "in"
    monkeypatch.chdir(tmp_path)
    write(source / "1.parquet", shop(10, user=[None, *["u"] * 9]))
    assert "10 read = 9 accepted + 1 failed" in day("--failed-output=failed").out
    monkeypatch.chdir(source)
    write(source / "2.parquet", shop(10, first=10))
    assert day("--failed-output=../failed").code == 0  # and does not remove what the first one kept
    known = status(capsys, tmp_path)
    (left,) = known["not_replayed"]
    assert (left["failed"], known["failed"]) == (1, 1)
    (kept,) = left["files"]
    assert command(["status", f"{tmp_path}/cp"]) == 0
    assert capsys.readouterr().out.endswith(
        f"Next: fix the causes of the failures, then mixpanel-sink replay {kept} "
        f"--mapping MAPPING --checkpoint {tmp_path}/cp\n"
    )
    assert command(["status", f"{tmp_path}/cp", f"--html={tmp_path}/all.html"]) == 0
    page = (tmp_path / "all.html").read_text()
    assert f"mixpanel-sink replay {kept} --mapping MAPPING" in page
    capsys.readouterr()
    fixed = tmp_path / "fixed.yaml"
    fixed.write_text(MAPPING.replace(": user", ": {column: user, if_null: guest}"))
    forget()
    arguments = [
        f"--input={kept}", f"--mapping={fixed}", f"--checkpoint={tmp_path}/cp", "--quota=none",
        "--api-secret=env:TEST_API_SECRET", f"--endpoint={server.url}",
    ]  # fmt: skip
    replay_failed.main([*arguments, "--only=time_null"])
    capsys.readouterr()
    assert status(capsys, tmp_path)["not_replayed"] == [left]  # its reason is another one
    assert replay_failed.main(arguments) == 0, capsys.readouterr().err
    capsys.readouterr()
    known = status(capsys, tmp_path)
    assert known["not_replayed"] == []
    assert command(["status", f"{tmp_path}/cp"]) == 0
    assert "Next:" not in capsys.readouterr().out
    assert [run["kind"] for run in known["runs"]] == ["import", "import", "replay", "replay"]
    assert server.stats()["events_distinct"] == 20


def test_a_file_that_is_being_written_is_left(
    day: Any, server: Emulator, tmp_path: pathlib.Path
) -> None:
    write(tmp_path / "in" / "1.parquet", shop(10))
    whole = write(tmp_path / "2.parquet", shop(20, first=10)).read_bytes()
    (tmp_path / "in" / "2.parquet").write_bytes(whole[:-20])
    run = day("--leave-unfinished")
    assert run.code == 0, run.err
    assert "10 read = 10 accepted + 0 failed" in run.out
    assert f"1 file not complete; the next run goes on with {tmp_path}/in/2.parquet" in run.out
    run = day("--leave-unfinished")  # nothing else is new: a schedule must not fail for that
    assert run.code == 0, run.err
    path = f"{tmp_path}/in/2.parquet"
    assert f"1 file cannot be read yet, left for the next run: {path}. ({path} " in run.out
    assert "Nothing is new; nothing was sent." in run.out
    (tmp_path / "in" / "2.parquet").write_bytes(whole)
    run = day("--leave-unfinished")
    assert "20 read = 20 accepted + 0 failed" in run.out


@pytest.mark.parametrize("leaves", [True, False])
def test_a_file_that_grows_after_it_was_listed(tmp_path: pathlib.Path, leaves: bool) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(shop(10), path)
    found = list(_ListPlanned(Parquet(), Selection(), leaves).process((path, 7)))
    listed = [each.value for each in found if hasattr(each, "tag")]
    assert [(each.path, each.is_left) for each in listed] == [(path, leaves)]
    assert isinstance(listed[0], Listed)
    assert len(found) == (1 if leaves else 2)


BEGINNING = "SELECT user, at, amount FROM `shop-prod.sales.orders_of_one_year`"


def watermark_of(monkeypatch: pytest.MonkeyPatch, mapping: Any = None, **table: str) -> str:
    """The name under which a run with --since keeps its watermark."""
    monkeypatch.setattr(TableSource, "after", lambda self, table, column: self)
    source = TableSource(BigQueryTable(project="shop-prod", **table))
    return rows_of_table(Settings(since="at"), source, mapping, {})[1]


def test_a_watermark_is_of_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = "bq://shop-prod.sales.orders"
    tables = [
        {"query": f"{BEGINNING} WHERE year = 2023"}, {"query": f"{BEGINNING} WHERE year = 2024"},
        {"table": orders, "where": "n > 1"}, {"table": orders, "where": "n > 0"}, {"table": orders},
    ]  # fmt: skip
    names = [watermark_of(monkeypatch, **each) for each in tables]
    assert len(set(names)) == 5
    assert names[-1] == f"{orders} at"


def test_updates_that_add_are_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"table": "bq://shop-prod.sales.orders"}
    assert watermark_of(monkeypatch, ProfileMapping(distinct_id="user", set=["plan"]), **table)
    adds = ProfileMapping(distinct_id="user", add=["amount"])
    with pytest.raises(SettingError, match="the mapping's add would be applied twice"):
        watermark_of(monkeypatch, adds, **table)


def test_a_setting_that_is_refused_leaves_no_lease(day: Any, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "in" / "1.parquet", shop(1))
    run = day("--missing=delete")
    assert (run.code, "needs --only-changed" in run.err) == (2, True)
    assert not (tmp_path / "cp" / "lease.json").exists()


@pytest.mark.parametrize("option", ["--on-changed=skip", "--leave-unfinished"])
def test_options_that_need_a_checkpoint(send: Any, tmp_path: pathlib.Path, option: str) -> None:
    write(tmp_path / "a.parquet", shop(1))
    run = send(tmp_path / "a.parquet", option)
    assert run.code == 2
    assert "needs --checkpoint" in run.err


def test_the_status_of_nothing(tmp_path: pathlib.Path, capsys: Any) -> None:
    assert command(["status", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "holds no imports. Give the folder that --checkpoint names." in said
    assert "MXS312" in said, "the code of a checkpoint, and not of a setting"


def test_a_dry_run_shows_what_is_new(
    day: Any, server: Emulator, tmp_path: pathlib.Path, capsys: Any
) -> None:
    write(tmp_path / "in" / "1.parquet", shop(1000))
    assert day().code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "cp").iterdir()}
    run = day("--dry-run")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines() == [
        "Dry run: nothing was sent.",
        "1 file was imported before, 0 are new.",
        "Nothing is new; a run would send nothing.",
    ]
    write(tmp_path / "in" / "2.parquet", shop(70, first=1000))
    run = day("--dry-run")
    assert run.out.splitlines()[1] == "1 file was imported before, 1 is new."
    assert re.findall(r"^  (\w+) +(\d+)$", run.out, re.M)[:2] == [("files", "1"), ("rows", "70")]
    write(tmp_path / "in" / "1.parquet", shop(999))
    run = day("--dry-run")
    assert (run.code, "1 file changed after the import" in run.err) == (2, True)
    run = day("--dry-run", "--on-changed=skip")
    assert "changed after the import, skipped" in run.out
    run = day("--dry-run", mapping=MAPPING + "exclude: [amount]\n")
    assert "mapping or privacy settings are not those" in run.err
    assert {path: path.read_bytes() for path in (tmp_path / "cp").iterdir()} == before
    assert server.stats()["requests"] == 1


@pytest.mark.parametrize("answer", ["all", "new"])
def test_another_mapping_after_a_first_run_that_did_not_end(
    day: Any, server: Emulator, tmp_path: pathlib.Path, answer: str
) -> None:
    path = write(tmp_path / "in" / "1.parquet", shop(3000))
    server.faults([{"kind": "status", "status": 401, "times": 1000, "skip": 1}])
    assert day().code == 1
    server.faults([])
    run = day(f"--on-mapping-changed={answer}", mapping=MAPPING + "exclude: [at]\n")
    assert "3,000 read = 3,000 accepted + 0 failed" in run.out, run.err
    assert (f"up to 2,000 records of {path} were accepted" in run.out) == (answer == "new")


@pytest.mark.parametrize("kind", ["events", "updates"])
def test_half_sent_files_and_another_mapping(
    day: Any, server: Emulator, tmp_path: pathlib.Path, monkeypatch: Any, kind: str
) -> None:
    path = write(tmp_path / "in" / "1.parquet", shop(3000, user=[f"u{n}" for n in range(3000)]))
    mapping, more = MAPPING, ["--throttled-seconds=0.05", "--first-wait=0.01"]
    if kind == "updates":
        monkeypatch.setenv("TEST_TOKEN", server.project_token)
        mapping = "distinct_id: user\nadd: [amount]\n"
        more += [
            "--endpoint-kind=engage",
            "--project-token=env:TEST_TOKEN",
            "--api-secret=",
            "--lanes=1",
        ]
    server.faults([{"kind": "rate_limit", "times": 1000, "skip": 1}])
    run = day(*more, mapping=mapping)
    assert f"the next run goes on with {path}" in run.out, run.err
    server.faults([])
    other = mapping + "exclude: [at]\n" if kind == "events" else mapping + "set: [name]\n"
    begun = f"did not finish: up to 2,000 records of {path} were accepted."
    run = day(*more, "--on-mapping-changed=new", mapping=other)
    if kind == "updates":
        assert run.code == 2
        assert begun in run.err
        assert "what they add would count twice. Run once more with the old mapping" in run.err
        assert server.stats()["requests_by_endpoint"]["/engage"]["200"] == 1
        run = day(*more, "--on-mapping-changed=new", "--on-ambiguous=retry", mapping=other)
    assert f"{begun} With the new mapping it is all sent again." in run.out, run.err
    assert "3,000 read = 3,000 accepted + 0 failed" in run.out
    run = day(*more, mapping=other)
    assert "Nothing is new" in run.out, run.err
