"""--dry-run of the main command: what it says is what the run then does."""

from __future__ import annotations

import re

import pytest

from pipelines.parquet_to_mixpanel import main
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import shop, write


@pytest.fixture
def dry_run(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TEST_API_SECRET", raising=False)
    (tmp_path / "m.yaml").write_text(MAPPING)

    def run(*arguments: str) -> tuple[int, str, str]:
        given = [argument.partition("=")[0] for argument in arguments]
        defaults = (f"--input={tmp_path}/*.parquet", f"--mapping={tmp_path}/m.yaml")
        code = main([*(d for d in defaults if d.partition("=")[0] not in given), *arguments])
        return code, *capsys.readouterr()

    return run


def number(text: str, name: str) -> int:
    found = re.findall(rf"^  {name} +([\d,]+)", text, re.MULTILINE)
    return int(found[-1].replace(",", ""))


def test_it_says_what_the_run_does(dry_run, send, server, tmp_path):
    users = [None if i % 1000 == 7 else f"u{i}" for i in range(9000)]
    source = write(tmp_path / "a.parquet", shop(9000, user=users), row_group_size=2500)
    code, out, err = dry_run(f"--endpoint={server.url}", "--dry-run=all")
    assert code == 0, err
    assert server.stats()["requests"] == 0
    run = send(source)
    stats = server.stats()
    assert number(out, "events") == stats["events_distinct"]
    assert number(out, "requests") == stats["requests"]
    assert number(out, "records that would fail") == len(run.failed)
    assert number(out, "bytes of JSON") == stats["body_bytes"]
    # Send merges partial chunks again, so that their gzip differs a little.
    assert number(out, "bytes as gzip") == pytest.approx(stats["raw_bytes"], rel=0.05)
    assert "distinct_id_null  9" in out
    assert f"{source}, row 7" in out


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [(["--dry-run"], 10_000), (["--dry-run", "300"], 300), (["--dry-run=12"], 12)],
)
def test_samples(dry_run, tmp_path, arguments, rows):
    write(tmp_path / "a.parquet", shop(11_000))
    code, out, _ = dry_run(*arguments)
    assert code == 0
    assert number(out, "rows looked at") == rows
    assert number(out, "rows") == 11_000
    assert number(out, "events") == 11_000, "the estimate"
    assert out.count('"$insert_id"') == 5


def test_it_needs_no_secret_and_shows_none(dry_run, tmp_path):
    write(tmp_path / "a.parquet", shop(10))
    more = ["--project-token=env:NOT_SET", "--api-secret=env:NOT_SET", "--dry-run"]
    code, out, _ = dry_run(*more)
    assert code == 0
    assert out.count(f'"token": "{"*" * 32}"') == 5


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--dry-run=some", "give a number of rows, or all"),
        ("--dry-run=0", "give a number of rows, or all"),
        ("--quota=sixty", "'sixty' cannot be read"),
        ("--mixpanel_region=eo", "us, eu or in"),
        ("--api-secret=0123456789abcdef", "must be a reference"),
        ("--lanes=0", "at least 1"),
        ("--mapping=", "--mapping is missing"),
        ("--input=/nowhere/*.parquet", "No file matches"),
    ],
)
def test_bad_settings(dry_run, tmp_path, argument, says):
    write(tmp_path / "a.parquet", shop(3))
    code, _, err = dry_run("--dry-run=5" if "dry-run" not in argument else "--lanes=1", argument)
    assert code == 2
    assert says in err


def test_a_mapping_that_does_not_fit(dry_run, tmp_path):
    write(tmp_path / "a.parquet", shop(3))
    (tmp_path / "m.yaml").write_text(MAPPING.replace("user", "usr"))
    code, _, err = dry_run("--dry-run")
    assert code == 2
    assert "Did you mean 'user'?" in err


def test_an_unreadable_file_is_exit_code_1(dry_run, tmp_path):
    write(tmp_path / "a.parquet", shop(3))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 upload broke off")
    code, out, _ = dry_run("--dry-run")
    assert code == 1
    assert "file_unreadable  1" in out
