"""Filters and a limit: the same on check, import and verify, and without reading what they rule
out."""

from __future__ import annotations

import datetime
import pathlib

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.read.selection import Selection
from mixpanel_sink.settings.mapping import EventMapping
from tests.cli.conftest import Call

ROWS = 3000
DAYS = 10
DAY = datetime.date(2024, 5, 1)
MAPPING = "event: name\ntime: {column: at, unit: iso8601}\ndistinct_id: user\n"


def table() -> pa.Table:
    """300 rows a day for ten days; a third of them orders, of which the last of all has no user."""
    first = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
    at = [first + datetime.timedelta(minutes=14 * i * 24 / 70) for i in range(ROWS)]
    return pa.table(
        {
            "name": ["Order", "View", "View"] * (ROWS // 3),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "user": [*(f"u{i}" for i in range(ROWS - 3)), None, "x", "y"],
            "amount": pa.array(range(ROWS), pa.int64()),
        }
    )


@pytest.fixture
def files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, mixpanel: Emulator) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    made = table()
    pq.write_table(made, tmp_path / "a.parquet", row_group_size=ROWS // DAYS)
    texts = made.set_column(1, "at", made["at"].cast(pa.string()))
    pyarrow.csv.write_csv(texts, tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        unit = "" if name.endswith("parquet") else MAPPING
        types = "source: {types: {amount: integer}}\n" if unit else ""
        (tmp_path / f"{name}.yaml").write_text(
            (unit or MAPPING.replace("{column: at, unit: iso8601}", "at")) + types
        )


@pytest.mark.parametrize(
    ("file", "filters", "read", "left_out", "skipped"),
    [
        ("a.parquet", "--from 2024-05-03 --to 2024-05-04", 600, 0, 2400),
        ("a.csv", "--from 2024-05-03 --to 2024-05-04", 600, 2400, 0),
        ("a.parquet", "--events Order --from 2024-05-10", 100, 200, 2700),
        ("a.parquet", "--where amount>=2950ANDname='Order' --limit 5", 5, None, 2700),
        ("a.csv", "--where amount>=1950ANDname='Order' --from 2024-05-08 --limit 5", 5, None, 0),
    ],
)
def test_check_import_and_verify(
    call: Call, mixpanel: Emulator, files: None, file: str, filters: str, read: int,
    left_out: int | None, skipped: int,
) -> None:  # fmt: skip
    given = [word.replace("AND", " AND ") for word in filters.split()]
    common = (file, "-m", f"{file}.yaml", *given)
    failed = 1 if "2024-05-10" in filters else 0

    checked = call("check", *common, "--all")
    assert checked.code == 0, checked.err
    sent = call("import", *common, "--endpoint", mixpanel.url, "--quota", "none")
    assert sent.code == 0, sent.err
    assert f"{read} read = {read - failed} accepted + {failed} failed" in sent.out
    for out in (checked.out, sent.out):
        assert number(out, "rows skipped") == skipped
    if left_out is not None:
        assert number(sent.out, "records left out") == number(checked.out, "rows left out")
        assert number(sent.out, "records left out") == left_out
        assert read + left_out + skipped == ROWS
    assert len(mixpanel.insert_ids()) == read - failed
    proven = call("verify", *common, "--endpoint", mixpanel.url)
    assert number(proven.out, "the same on both sides") == read - failed, proven.out
    assert proven.code == 0, proven.out


def number(out: str, name: str) -> int:
    """The number on the line of this name; 0 if there is none."""
    for line in out.splitlines():
        if line.strip().startswith(name):
            return int(line.split(name)[1].split()[0].replace(",", ""))
    return 0


class TestWhole:
    def test_what_a_filter_left_out_comes_later_under_the_same_ids(self, call, mixpanel, files):
        where = ("a.parquet", "-m", "a.parquet.yaml", "--endpoint", mixpanel.url, "--quota=none")
        assert call("import", *where, "--from=2024-05-04", "--events=Order").code == 0
        some = set(mixpanel.insert_ids())
        assert call("import", *where).code == 0
        every = set(mixpanel.insert_ids())
        assert len(some) == 700 - 1
        assert len(every) == ROWS - 1
        assert some < every

    def test_a_checkpoint_of_other_filters_is_another_jobs(self, call, mixpanel, files):
        where = ("a.parquet", "-m", "a.parquet.yaml", "--endpoint", mixpanel.url, "--quota=none")
        assert call("import", *where, "--checkpoint=c", "--events=Order").code == 0
        again = call("import", *where, "--checkpoint=c", "--events=View")
        assert again.code == 2
        assert "checkpoint" in again.err.lower()
        assert call("import", *where, "--checkpoint=c", "--events=Order").code == 0

    def test_the_mapping_says_it_too(self, call, mixpanel, files, tmp_path):
        mapping = tmp_path / "a.parquet.yaml"
        mapping.write_text(
            mapping.read_text() + "filter: {first_day: 2024-05-09, events: [View]}\n"
        )
        checked = call("check", "a.parquet", "-m", mapping, "--all")
        assert number(checked.out, "events") == 400
        # Of days and names the command line's count, and the others stay.
        checked = call("check", "a.parquet", "-m", mapping, "--all", "--from=2024-05-10")
        assert number(checked.out, "events") == 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--from=2024-05-04 --to=2024-05-03", "2024-05-03, is before the first, 2024-05-04"),
        ("--from=yesterday", "give a day such as 2024-05-31"),
        ("--where=amount>", "where cannot be read"),
        ("--where=amuont>5", "Did you mean 'amount'?"),
        ("--where=amount>5)OR(true", "where cannot be read"),
        ("--limit=0", "limit"),
        ("--limit=5 --checkpoint=c", "leave one out"),
    ],
)
def test_what_is_wrong_shows_before_anything_is_sent(call, mixpanel, files, given, said):
    sent = call(
        "import", "a.parquet", "-m", "a.parquet.yaml", "--endpoint", mixpanel.url, *given.split()
    )
    assert sent.code == 2
    assert said in sent.err
    assert sent.err.count("\n") <= 2
    assert not mixpanel.insert_ids()


def test_a_condition_on_a_column_that_is_not_there_is_said(
    call: Call, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    pq.write_table(pa.table({"user": ["u1"], "at": [1_700_000_000]}), tmp_path / "a.parquet")
    mapping = tmp_path / "m.yaml"
    mapping.write_text("event: {constant: A}\ndistinct_id: user\ntime: {column: at, unit: s}\n")
    done = call("check", str(tmp_path / "a.parquet"), f"--mapping={mapping}", "--where=zzz > 0")
    assert done.code == 1
    assert "where names 'zzz', which the input does not have" in caplog.text


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["--where", "land = 'DE'"], ["DE/06", "DE/07"]),
        (["--where", "land IN ('FR', 'IT') AND amount < 100"], ["FR/07"]),
        (["--where", "amount < 100 AND NOT (land = 'DE' OR day = '2024-05-09')"], ["FR/07"]),
        (["--from", "2024-05-07", "--where", "land = 'DE'"], ["DE/07"]),
        (["--to", "2024-05-06"], ["DE/06"]),
        (["--events", "FR"], ["FR/07"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_files_of_other_partitions_are_not_opened(
    call: Call,
    mixpanel: Emulator,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    filters: list[str],
    kept: list[str],
) -> None:
    """Those that are not wanted here are no Parquet at all: opening one would be an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    (tmp_path / "m.yaml").write_text(
        "event: land\ntime: {column: day, unit: iso8601}\ndistinct_id: user\n"
    )
    for place in ("DE/06", "DE/07", "FR/07"):
        land, _, day = place.partition("/")
        folder = tmp_path / f"in/land={land}/day=2024-05-{day}"
        folder.mkdir(parents=True)
        if place in kept:
            pq.write_table(pa.table({"user": ["u1", "u2"], "amount": [5, 6]}), folder / "a.parquet")
        else:
            (folder / "a.parquet").write_bytes(b"not Parquet")
    common = ("in", "-m", "m.yaml", *filters)
    checked = call("check", *common)
    assert checked.code == 0, checked.out
    sent = call("import", *common, "--endpoint", mixpanel.url, "--quota=none")
    assert f"{2 * len(kept)} read = {2 * len(kept)} accepted + 0 failed" in sent.out, sent.err
    assert sent.code == 0
    for out in (checked.out, sent.out):
        assert number(out, "files skipped") == 3 - len(kept)
    assert number(sent.out, "files") == len(kept)
    if not {"--from", "--to"} & {*filters}:  # verify compares days in the project's time zone
        proven = call("verify", *common, "--endpoint", mixpanel.url)
        assert f"all {2 * len(kept)} events" in proven.out, proven.out + proven.err


@pytest.mark.parametrize(
    "more",
    [
        "shape: {where: \"amount > 0 OR land = 'DE'\"}",  # the row tells
        "shape: {where: \"land = 'DE'\", defaults: {land: DE}}",  # null is DE
        "shape: {where: \"land = 'DE'\", rename: {x: land}}",
        "shape: {where: \"land = 'DE'\", cast: {land: text}}",
        'shape: {where: "land > 5"}',  # not comparable: reading says so
        "filter: {events: [Order], first_day: 2024-05-01}",
    ],
)
def test_a_partition_is_read_where_its_keys_do_not_tell(more: str) -> None:
    text = "event: kind\ntime: at\ndistinct_id: user\n" + more
    selection = Selection(EventMapping.from_yaml(text))
    land = "__HIVE_DEFAULT_PARTITION__" if "defaults" in more else "FR"
    assert selection.wants(f"in/land={land}/a.parquet")
