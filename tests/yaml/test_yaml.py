"""Pipelines in Beam YAML, run as users run them."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.yaml import main as beam_yaml
from apache_beam.yaml.yaml_provider import ExternalPythonProvider, load_providers

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.version import __version__
from mixpanel_sink.yaml import PROVIDER
from tests.cloud_storage import emulated_bucket

IN_PROCESS = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
ROOT = pathlib.Path(__file__).parents[2]
WRITE = """
        mapping:
          event: name
          distinct_id: user
          time: {column: at, unit: ms}
          insert_id: id
          rename: {amount: price}
        api_secret: env:TEST_API_SECRET
        endpoint: ENDPOINT
        quota: none
"""
FAILURES = """
        error_handling: {output: failed}
    - type: WriteToJson
      input: WriteToMixpanel.failed
      config: {path: PLACE/failed, num_shards: 1}
"""
PIPELINE = """
pipeline:
  transforms:
    - type: READ
      config:
        CONFIG
    - type: WriteToMixpanel
      input: READ
      config: WRITE
providers:
  - include: PROVIDER
"""


def orders(count: int = 10) -> dict[str, list[Any]]:
    return {
        "name": ["Order"] * count,
        "user": ["null", *(f"u{i}" for i in range(1, count))],
        "at": [1_704_067_200_000 + i for i in range(count)],
        "amount": [1.5] * count,
        "id": [f"id-{i}" for i in range(count)],
    }


@pytest.fixture
def spec(mixpanel: Emulator, tmp_path: pathlib.Path) -> Any:
    """Makes the text of a pipeline."""

    def make(read: str, config: str, write: str = WRITE + FAILURES) -> str:
        parts = {"READ": read, "CONFIG": config, "WRITE": write, "ENDPOINT": mixpanel.url}
        parts |= {"PROVIDER": str(PROVIDER), "PLACE": str(tmp_path)}
        text = PIPELINE
        for name, value in parts.items():
            text = text.replace(name, value)
        return text

    return make


def run(text: str) -> None:
    beam_yaml.run(["x", f"--yaml_pipeline={text}", IN_PROCESS])


def failures(place: pathlib.Path) -> list[dict[str, Any]]:
    (path,) = place.glob("failed-*")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_of_the_pipeline_itself(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    rows = [dict(zip(orders(), row, strict=True)) for row in zip(*orders().values(), strict=True)]
    run(spec("Create", f"elements: {json.dumps(rows)}"))
    assert mixpanel.stats()["events_distinct"] == 9
    (event,) = mixpanel.events(insert_id="id-3")
    assert event["properties"]["price"] == 1.5
    (failed,) = failures(tmp_path)
    assert failed["reason"] == "distinct_id_reserved"
    assert json.loads(failed["element"])["id"] == "id-0"
    assert "'null'" in failed["msg"]


def test_parquet(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    pq.write_table(pa.table(orders(3000)), tmp_path / "a.parquet")
    run(spec("ReadFromParquet", f"path: {tmp_path}/*.parquet"))
    assert mixpanel.stats()["events_distinct"] == 2999
    assert mixpanel.stats()["requests"] == 2
    assert len(failures(tmp_path)) == 1


def test_csv_with_beams_own_command(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    lines = [",".join(map(str, row)) for row in zip(*orders().values(), strict=True)]
    lines[0] = lines[0].replace("null", "undefined")  # pandas makes "null" a missing value
    (tmp_path / "a.csv").write_text("\n".join([",".join(orders()), *lines]))
    (tmp_path / "p.yaml").write_text(spec("ReadFromCsv", f"path: {tmp_path}/a.csv"))
    file = f"--yaml_pipeline_file={tmp_path}/p.yaml"
    command = [sys.executable, "-m", "apache_beam.yaml.main", file, IN_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert mixpanel.stats()["events_distinct"] == 9
    assert failures(tmp_path)[0]["reason"] == "distinct_id_reserved"


def test_without_error_handling_a_failure_stops_it(mixpanel: Emulator, spec: Any) -> None:
    bad = '{name: Order, user: "null", at: 1704067200000, amount: 1, id: a}'
    with pytest.raises(Exception, match=r"A record failed \(distinct_id_reserved\)"):
        run(spec("Create", f"elements: [{bad}]", WRITE))


def test_receipts_are_an_output(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    good = "{name: Order, user: u, at: 1704067200000, amount: 1, id: a}"
    receipts = FAILURES.replace("error_handling: {output: failed}", "").replace(
        "failed", "receipts"
    )
    run(spec("Create", f"elements: [{good}]", WRITE + receipts))
    (path,) = tmp_path.glob("receipts-*")
    assert json.loads(path.read_text())["accepted"] == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("distinct_id: user", "distinct_id: usr"), "the column 'usr'.*Did you mean 'user'"),
        (
            ("event: name", "evnt: name"),
            "The mapping's key 'evnt' is unknown. Did you mean 'event'",
        ),
        (("env:TEST_API_SECRET", "0123456789abcdef"), "must be a reference"),
        (("quota: none", "qutoa: none"), "'qutoa' is unknown. Did you mean 'quota'"),
        (("quota: none", "preflight: true"), "'preflight' is unknown"),
        (("quota: none", "max_in_flight: many"), "max_in_flight is 'many'; it must be a whole"),
        (("quota: none", "quota: sixty"), "'sixty' cannot be read"),
    ],
)
def test_a_wrong_config(mixpanel: Emulator, spec: Any, wrong: tuple[str, str], says: str) -> None:
    good = "{name: Order, user: u, at: 1704067200000, amount: 1, id: a}"
    text = spec("Create", f"elements: [{good}]")
    assert wrong[0] in text
    with pytest.raises(ValueError, match=rf"(?s)WriteToMixpanel.*{says}") as raised:
        run(text.replace(*wrong))
    assert "0123456789abcdef" not in str(raised.value)
    assert mixpanel.stats()["requests"] == 0


def test_limits_and_retries(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    pq.write_table(pa.table(orders(31)), tmp_path / "a.parquet")
    some = "quota: none\n        batch_events: 10\n        transient_seconds: 60"
    text = spec("ReadFromParquet", f"path: {tmp_path}/*.parquet")
    run(text.replace("quota: none", some))
    assert mixpanel.stats()["events_distinct"] == 30
    assert mixpanel.stats()["requests"] == 3


def test_profiles(mixpanel: Emulator, spec: Any, tmp_path: Any) -> None:
    write = """
        mapping: {distinct_id: user, set: all}
        project_token: env:TEST_TOKEN
        endpoint: ENDPOINT
        endpoint_kind: engage
        quota: none
"""
    rows = '[{user: u1, plan: free}, {user: u2, plan: pro}, {user: "null", plan: pro}]'
    run(spec("Create", f"elements: {rows}", write + FAILURES))
    assert mixpanel.profile("u2")["properties"]["plan"] == "pro"
    assert [each["reason"] for each in failures(tmp_path)] == ["distinct_id_reserved"]


def test_profiles_of_users_and_of_groups_have_types_of_their_own(
    mixpanel: Emulator, spec: Any, tmp_path: Any
) -> None:
    write = """
        mapping: {distinct_id: user, set: all}
        project_token: env:TEST_TOKEN
        endpoint: ENDPOINT
        quota: none
"""
    rows = '[{user: u1, plan: free}, {user: u2, plan: pro}, {user: "null", plan: pro}]'
    users = spec("Create", f"elements: {rows}", write + FAILURES)
    run(users.replace("WriteToMixpanel", "WriteProfilesToMixpanel"))
    assert mixpanel.profile("u2")["properties"]["plan"] == "pro"
    assert [each["reason"] for each in failures(tmp_path)] == ["distinct_id_reserved"]
    write = write.replace("distinct_id: user", "group_key: {constant: shop}, group_id: user")
    groups = spec("Create", f"elements: {rows.rpartition(', {')[0]}]", write)
    run(groups.replace("WriteToMixpanel", "WriteGroupsToMixpanel"))
    assert mixpanel.group("shop", "u1")["properties"]["plan"] == "free"
    (provider,) = load_providers(str(PROVIDER))
    fields = {each.name for each in provider.config_schema("WriteGroupsToMixpanel").fields}
    assert {"mapping", "project_token", "on_ambiguous"} <= fields
    assert not {"endpoint_kind", "max_in_flight", "run_property"} & fields


def test_a_provider_file_for_cloud_storage(tmp_path: Any) -> None:
    """It has everything that the local one has, and installs this version."""
    said = subprocess.run(
        [sys.executable, "-m", "mixpanel_sink.yaml", "--remote"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    with emulated_bucket(tmp_path) as bucket:
        bucket.blob("mixpanel.yaml").upload_from_string(said.stdout)
        (remote,) = load_providers("gs://events/mixpanel.yaml")
    (local,) = load_providers(str(PROVIDER))
    assert isinstance(remote, ExternalPythonProvider)
    assert set(remote.provided_transforms()) == set(local.provided_transforms())
    assert list(remote._packages) == [f"mixpanel-sink[gcp]=={__version__}"]


def test_an_error_output_that_nobody_reads(mixpanel: Emulator, spec: Any) -> None:
    text = spec("Create", "elements: [{name: a}]", WRITE + FAILURES.split("    - type")[0])
    with pytest.raises(ValueError, match="Unconsumed error output"):
        run(text)


def test_the_provider_tells_the_settings() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "mixpanel_sink.yaml"], capture_output=True, text=True, check=True
    )
    (provider,) = load_providers(said.stdout.strip())
    assert "once, within the project's quota" in provider.description("WriteToMixpanel")
    schema = provider.config_schema("WriteToMixpanel")
    assert {field.name for field in schema.fields} >= {"mapping", "api_secret", "error_handling"}
    assert all(field.description for field in schema.fields)


def test_the_documented_pipelines_run(
    mixpanel: Emulator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table(orders()), tmp_path / "orders.parquet")
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/yaml.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    (whole,) = [block for block in blocks if block.startswith("pipeline:")]
    whole = whole.replace("region: eu", f"endpoint: {mixpanel.url}")
    run(whole.replace("gs://bucket/orders/*.parquet", "orders.parquet").replace("gs://bucket/", ""))
    assert mixpanel.stats()["events_distinct"] == 9
    assert [json.loads(path.read_text())["msg"] for path in tmp_path.glob("failed*")]
