"""The `mixpanel-sink` command, as a person or a machine types it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import __version__
from mixpanel_sink.cli.words import sorted_out
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.demo import shop_events
from mixpanel_sink.process import forget
from tests.cli.conftest import Call

Shop = pathlib.Path


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MIXPANEL_"):
            monkeypatch.delenv(name)
    pq.write_table(shop_events(5000), tmp_path / "shop_events.parquet")
    return tmp_path / "shop_events.parquet"


def test_from_a_file_to_an_import(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ten minutes: init, check, import, replay."""
    made = call("init", shop)
    assert made.code == 0
    assert "Please look at:" in made.out
    assert "Next: mixpanel-sink check" in made.out
    checked = call("check", shop, "--mapping", "mapping.yaml")
    assert checked.code == 0
    assert '"event":' in checked.out
    assert "distinct_id_null" in checked.out
    assert mixpanel.stats()["requests"] == 0
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    sent = call(
        "import", shop, "-m", "mapping.yaml", "--endpoint", mixpanel.url, "--failed-output",
        "failed", "--report", "run.html", "--checkpoint", "checkpoint",
        "--runner=DirectRunner", "--hash_properties=internal_note",
    )  # fmt: skip
    assert sent.code == 0
    assert "5,000 read = 4,993 accepted + 7 failed" in sent.out
    assert mixpanel.stats()["events_distinct"] == 4993
    assert "<html" in pathlib.Path("run.html").read_text()
    run = json.loads(pathlib.Path("run.json").read_text())
    assert run["accounting"]["accepted"] == 4993
    assert mixpanel.api_secret not in pathlib.Path("run.json").read_text()
    pathlib.Path("fixed.yaml").write_text(
        pathlib.Path("mapping.yaml")
        .read_text()
        .replace("distinct_id: user_id", "distinct_id: {column: user_id, if_null: nobody}")
    )
    again = call(
        "replay", "failed*.jsonl", "-m", "fixed.yaml", "--only", "distinct_id_null",
        "--endpoint", mixpanel.url,
    )  # fmt: skip
    assert again.code == 0
    assert "1 accepted" in again.out
    assert mixpanel.events(distinct_id="nobody")


def test_verify(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    call("init", shop)
    where = ("-m", "mapping.yaml", "--endpoint", mixpanel.url)
    missing = call("verify", shop, *where)
    assert missing.code == 1
    assert "Next: import what is missing; nothing is doubled: mixpanel-sink import" in missing.out
    assert call("import", shop, *where).code == 0
    proven = call("verify", shop, *where)
    assert proven.code == 0, proven.out


def test_for_machines(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed = json.loads(call("init", shop, "--json").out)
    assert proposed["guesses"]
    pathlib.Path("m.yaml").write_text(proposed["mapping"])
    checked = json.loads(call("check", shop, "-m", "m.yaml", "--json").out)
    assert isinstance(checked, dict)
    monkeypatch.setenv("OTHER", mixpanel.api_secret)
    sent = call(
        "import", shop, "-m", "m.yaml", "--endpoint", mixpanel.url, "--api-secret", "env:OTHER",
        "--json",
    )  # fmt: skip
    assert json.loads(sent.out)["accounting"] == {
        "read": 5000, "accepted": 4993, "failed": 7, "balanced": True,
    }  # fmt: skip
    found = json.loads(call("doctor", "--offline", "--json").out)
    assert {"what": "apache-beam", "state": "ok"}.items() <= found[2].items()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "nothing.parquet"], "No file matches"),
        (["init", "shop_events.parquet", "-o", "there.yaml"], "is there already"),
        (["init", "shop_events.parquet", "-o", "no/such/folder.yaml"], "could not be written"),
        (["init", "there.yaml"], "tells its format. Choose one with --format"),
        (["check", "shop_events.parquet", "-m", "none.yaml"], "cannot be read"),
        (["check", "shop_events.parquet"], "--mapping"),
        (["check", "shop_events.parquet", "-m", "wrong.yaml"], "user_idd"),
        (["check", "shop_events.parquet", "-m", "good.yaml", "--rows", "0"], "number of rows"),
        (["import", "shop_events.parquet", "-m", "good.yaml"], "No credentials"),
        (
            ["import", "shop_events.parquet", "-m", "good.yaml", "--api-secret", "literal"],
            "must be a reference",
        ),
        (
            ["import", "shop_events.parquet", "-m", "good.yaml", "--api-secret", "env:NO_SUCH"],
            "NO_SUCH is not set",
        ),
        (["doctor", "--region", "mars"], "us, eu or in"),
        (["dance"], "dance"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    call: Call, shop: Shop, arguments: list[str], says: str
) -> None:
    good = "event: event_name\ndistinct_id: user_id\ntime: {column: created_at, unit: ms}\n"
    pathlib.Path("there.yaml").write_text("here")
    pathlib.Path("good.yaml").write_text(good)
    pathlib.Path("wrong.yaml").write_text(good.replace("user_id", "user_idd"))
    done = call(*arguments)
    assert done.code == 2
    assert says in done.out + done.err
    assert pathlib.Path("there.yaml").read_text() == "here"


def test_a_wrong_secret_fails_the_job(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", "wrong")
    call("init", shop)
    done = call("import", shop, "-m", "mapping.yaml", "--endpoint", mixpanel.url)
    assert done.code == 1
    assert "does not accept the API secret" in done.err


def test_doctor_finds_what_is_wrong(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", "s3cr3t-and-long")
    fine = call("doctor", "--endpoint", mixpanel.url)
    assert fine.code == 0
    assert "Next: mixpanel-sink init" in fine.out
    assert "answers, in" in fine.out
    assert "s3cr3t" not in fine.out
    bad = call("doctor", "--endpoint", "http://127.0.0.1:9", "--api-secret", "env:NO_SUCH")
    assert bad.code == 1
    assert "cannot be reached" in bad.out
    assert "NO_SUCH is not set" in bad.out
    assert "Next: fix api_secret, 127.0.0.1:9, then run mixpanel-sink doctor again" in bad.out


def test_options_of_beam_go_on_to_beam() -> None:
    words = ["a.parquet", "--runner=PrismRunner", "b.parquet", "--temp_location", "gs://t", "c"]
    words += ["--save_main_session", "--x=y", "--streaming", "d.parquet", "--", "--odd", "e"]
    assert sorted_out(["import", *words]) == (
        ["import", "a.parquet", "b.parquet", "c", "d.parquet"],
        [
            *("--runner=PrismRunner", "--temp_location", "gs://t", "--save_main_session"),
            *("--x=y", "--streaming", "--odd", "e"),
        ],
    )


def test_an_option_that_nobody_knows_may_hide_a_file(call: Call) -> None:
    done = call("import", "--odd", "events.parquet")
    assert done.code == 2
    assert "write --odd=VALUE" in done.err


def test_our_options_are_spelled_either_way() -> None:
    words = ["check", "a.csv", "--hash_properties=email", "--hash-key", "env:K", "--all"]
    assert sorted_out(words, {"json"}) == (
        ["check", "a.csv", "--hash-properties=email", "--hash-key", "env:K", "--all"],
        [],
    )
    words = ["import", "--preflight=true", "--allow_http=false", "--dry_run", "a", "--region", "eu"]
    assert sorted_out([*words, "--region=europe-west1"]) == (
        ["import", "--preflight", "--dry-run=10000", "a", "--region", "eu"],
        ["--region=europe-west1"],
    )


def test_version_and_help(call: Call) -> None:
    assert __version__ in call("--version").out
    for command in ("init", "check", "import", "replay", "verify", "doctor", "emulator", "demo"):
        shown = call(command, "--help")
        assert shown.code == 0
        assert "Example:" in shown.out
        assert call(command, "-h").out == shown.out
    assert call("-h").out == call("--help").out


def test_as_a_program(shop: Shop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mixpanel_sink", "init", str(shop)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert pathlib.Path("mapping.yaml").exists()


def test_an_empty_file(call: Call, shop: Shop) -> None:
    pq.write_table(pa.table({"user_id": pa.array([], pa.string())}), "empty.parquet")
    done = call("init", "empty.parquet", "-o", "empty.yaml")
    assert done.code == 0
    assert "GUESS" in done.out


def test_check_of_what_would_all_fail(call: Call, shop: Shop) -> None:
    """It does not send people on to an import of which nothing would land."""
    pathlib.Path("m.yaml").write_text(
        "event: event_name\ndistinct_id: user_id\ntime: {column: created_at, unit: us}\n"
    )
    done = call("check", shop, "-m", "m.yaml")
    assert done.code == 1
    assert "Nothing would be accepted." in done.out
    assert "Next: edit m.yaml, then mixpanel-sink check" in done.out
    assert "--dry" not in done.out
    assert "Next: mixpanel-sink import" not in done.out


def test_check_and_verify_know_the_privacy_options(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    monkeypatch.setenv("KEY", "k")
    call("init", shop)
    private = ("--hash-properties", "user_id", "--hash_key=env:KEY", "--drop_properties=product")
    checked = call("check", shop, "-m", "mapping.yaml", *private)
    assert checked.code == 0
    assert "user-" not in checked.out
    assert "sku-" not in checked.out
    where = ("-m", "mapping.yaml", "--endpoint", mixpanel.url, *private)
    assert call("import", shop, *where).code == 0
    proven = call("verify", shop, *where)
    assert proven.code == 0, proven.out


def test_a_clean_import_leaves_no_folder_for_failed_records(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    pq.write_table(shop_events(100), "clean.parquet")
    call("init", "clean.parquet")
    done = call("import", "clean.parquet", "-m", "mapping.yaml", "--endpoint", mixpanel.url)
    assert done.code == 0
    assert not pathlib.Path("failed").exists()
    assert "Next: mixpanel-sink verify 'clean.parquet' --mapping mapping.yaml" in done.out


def test_failed_records_are_kept_apart_for_each_run(
    call: Call, shop: Shop, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of imports and replays alike; the summary names the files, and the next step replays them."""
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    call("init", shop)
    where = ("-m", "mapping.yaml", "--endpoint", mixpanel.url)
    kept: set[pathlib.Path] = set()
    for _ in range(2):
        done = call("import", shop, *where)
        assert done.code == 0
        (new,) = set(pathlib.Path("failed").iterdir()) - kept
        prefix = str(new).removesuffix("-00000-of-00001.jsonl")
        assert f"Failed records: {prefix}*.jsonl" in done.out
        again = f"mixpanel-sink replay '{prefix}*.jsonl' --mapping mapping.yaml --endpoint"
        assert f"Next: fix the causes of the failures above, then {again}" in done.out
        kept.add(new)
    replayed = call("replay", f"{prefix}*.jsonl", *where)
    assert replayed.code == 1  # each of them fails again, for the same reason
    assert "MXS403: mixpanel-sink explain MXS403" in replayed.err
    assert len(set(pathlib.Path("failed").iterdir()) - kept) == 1
    assert "Next: fix the causes of the failures above" in replayed.out


def test_with_a_checkpoint_the_next_step_is_what_no_replay_has_read(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Also of earlier runs; and not what was replayed, though its files are still there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    place = pathlib.Path("in")
    place.mkdir()
    mapping = "event: {constant: Order}\ndistinct_id: user\ntime: {column: at, unit: s}\n"
    pathlib.Path("m.yaml").write_text(mapping)
    where = ("-m", "m.yaml", "--endpoint", mixpanel.url, "--checkpoint=cp", "--types=at=integer")

    def day(name: str, user: str) -> str:
        (place / f"{name}.csv").write_text(f"user,at\nann,1714521600\n{user},1714521601\n")
        forget()
        done = call("import", "in/*.csv", *where, "--failed-output=failed/f", "--report=run.html")
        assert done.code == 0, done.err
        return str(done.out)

    first = day("1", "")
    (failed,) = pathlib.Path("failed").glob("f-*.jsonl")
    replay = f"mixpanel-sink replay '{failed.resolve()}' "
    again = f"Next: fix the causes of the failures that are left, then {replay}"
    assert again in first
    report = json.loads(pathlib.Path("run.json").read_text())
    assert report["next_steps"][0]["command"].startswith(replay), "as the command itself says"
    assert again in day("2", "bob")
    pathlib.Path("fixed.yaml").write_text(
        mapping.replace("user", "{column: user, if_null: nobody}")
    )
    forget()
    words = ("replay", str(failed), "-m", "fixed.yaml", "--endpoint", mixpanel.url)
    done = call(*words, "--checkpoint=cp")
    assert done.code == 0, done.err
    assert "Next: mixpanel-sink verify" in day("3", "cid")


def test_a_dead_endpoint_is_recognised_before_anything_is_read(
    call: Call, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_API_SECRET", "secret")
    call("init", shop)
    done = call("import", shop, "-m", "mapping.yaml", "--endpoint", "http://127.0.0.1:9")
    assert done.code == 2
    assert "127.0.0.1:9 could not be reached (Connection refused)" in done.err
    assert "Nothing was sent." in done.err
    assert "MXS204: mixpanel-sink explain MXS204" in done.err
    assert "Accounting" not in done.out
    assert not pathlib.Path("failed").exists()


def test_help_and_init_do_not_wait_for_beam(shop: Shop) -> None:
    code = (
        "import sys; from mixpanel_sink.cli import main\n"
        "main(['--help']); main(['import', '--help']); main(['init', 'shop_events.parquet'])\n"
        "print(sorted({'apache_beam', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )
    assert pathlib.Path("mapping.yaml").exists()
    assert done.stderr == "[]\n"
