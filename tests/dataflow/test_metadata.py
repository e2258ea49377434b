"""metadata.json says what the pipeline takes, and build.sh what gcloud is to do."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest

from mixpanel_sink import __version__
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.settings.option import FLAG, NUMBER, Option
from mixpanel_sink.settings.options import options_of
from tests.dataflow.conftest import ROOT

FOLDER = ROOT / "configs/flex_template"
TYPES = {"TEXT", "GCS_READ_FILE", "GCS_WRITE_FOLDER", "BOOLEAN", "ENUM", "NUMBER"}
REQUIRED = {"input", "mapping"}
GOOD = {
    "input": [
        "gs://b/*.parquet",
        "gs://b/a.parquet, gs://b/c/*.parquet",
        "bq://shop-prod.sales.orders",
        "bq://shop-prod.sales.orders$20240501",
        "bq://shop-prod",
    ],
    "mapping": ["gs://b/m.yaml"],
    "api_secret": ["gcpsecret:projects/p/secrets/s", "gcpsecret:projects/p/secrets/s/versions/3"],
    "service_account": ["robot.1a2b.mp-service-account"],
    "service_account_secret": ["gcpsecret:projects/p/secrets/s/versions/latest"],
    "project_id": ["1234567"],
    "project_token": ["env:TOKEN", "file:gs://b/token"],
    "mixpanel_region": ["us", "eu", "in"],
    "endpoint": ["https://proxy.example.com/mixpanel"],
    "allow_http": ["true", "false"],
    "endpoint_kind": ["import", "engage"],
    "on_ambiguous": ["fail", "retry"],
    "projects": ["gs://b/projects.yaml"],
    "destination": ["shop"],
    "quota": [
        "60/hour",
        "600/minute",
        "30000 events/second, 2 GB/minute",
        "page",
        "none",
        "reference",
    ],
    "lanes": ["1", "16"],
    "failed_output": ["gs://b/failed/run"],
    "checkpoint": ["gs://b/checkpoint"],
    "from": ["2024-05-01"],
    "to": ["2024-05-31"],
    "events": ["Signup", "Signup,Order placed"],
    "where": ["amount > 0 AND country = 'DE'"],
    "limit": ["1000"],
    "on_changed": ["fail", "skip", "import"],
    "on_mapping_changed": ["fail", "new", "all"],
    "leave_unfinished": ["true"],
    "run_property": ["import_run"],
    "run_id": ["scheduled__2024-05-31T02:15:00+00:00"],
    "since": ["updated_at"],
    "only_changed": ["true"],
    "overlap": ["7200", "0.5"],
    "preflight": ["true"],
    "drop_properties": ["a,b"],
    "hash_properties": ["email"],
    "hash_key": ["gcpsecret:projects/p/secrets/s"],
    "format": ["csv"],
    "types": ["a=integer,b=number"],
    "delimiter": ["tab", ";"],
    "sheet": ["May 2024"],
    "query": ["SELECT * FROM sales.orders, sales.customers"],
    "row_restriction": ["amount > 0 AND country IN ('DE', 'AT')"],
    "partitions": ["20240501", "202401-202403"],
    "columns": ["id,user,at"],
    "bigquery_project": ["shop-prod"],
    "max_in_flight": ["16"],
    "batch_events": ["500"],
    "batch_bytes": ["2000000"],
    "event_bytes": ["100000"],
    "max_age_seconds": ["86400"],
    "transient_seconds": ["900", "0.5"],
    "throttled_seconds": ["3600"],
    "connect_timeout": ["10"],
    "read_timeout": ["90"],
    "breaker": ["3"],
    "first_wait": ["2"],
    "longest_wait": ["60"],
}
BAD = {
    "input": ["/data/a.parquet", "gs://b/a, b", "bq://a.b.c,bq://a.b.d"],
    "partitions": ["May", "2024-05-01"],
    "mapping": ["m.yaml"],
    "api_secret": ["0123456789abcdef0123456789abcdef", "gcpsecret:s"],
    "service_account_secret": ["hunter2"],
    "project_token": ["0123456789abcdef"],
    "hash_key": ["salt"],
    "project_id": ["acme"],
    "mixpanel_region": ["europe-west1"],
    "endpoint": ["api.mixpanel.com"],
    "allow_http": ["yes"],
    "preflight": ["1"],
    "endpoint_kind": ["export"],
    "on_ambiguous": ["guess"],
    "projects": ["projects.yaml"],
    "lanes": ["0", "-1", "two"],
    "breaker": ["many"],
    "read_timeout": ["soon"],
    "quota": ["fast"],
    "failed_output": ["failed/run"],
    "checkpoint": ["here"],
    "from": ["yesterday", "1.5.2024"],
    "limit": ["0", "some"],
    "on_changed": ["again"],
    "on_mapping_changed": ["yes"],
    "leave_unfinished": ["1"],
    "overlap": ["a day"],
}


def listed() -> dict[str, dict[str, Any]]:
    metadata = json.loads((FOLDER / "metadata.json").read_text())
    assert metadata["name"]
    assert metadata["description"]
    names = [each["name"] for each in metadata["parameters"]]
    assert len(names) == len(set(names))
    return {each["name"]: each for each in metadata["parameters"]}


def options() -> dict[str, Option]:
    return {each.beside_beam: each for each in options_of("template")}


def test_the_parameters_are_the_options() -> None:
    assert list(listed()) == list(options())


@pytest.mark.parametrize("name", list(options()))
def test_a_parameter(name: str) -> None:
    each, option = listed()[name], options()[name]
    assert each["label"]
    assert len(each["helpText"]) > 20
    assert each["paramType"] in TYPES
    assert each["isOptional"] is (name not in REQUIRED)
    default = "false" if option.default is False else option.default
    assert each.get("defaultValue") == (str(default) if default else None)
    assert (each["paramType"] == "BOOLEAN") == (option.kind is FLAG)
    assert (each["paramType"] == "NUMBER") == (option.kind is NUMBER)
    assert (each["paramType"] == "ENUM") == ("enumOptions" in each)
    (regex,) = each["regexes"]
    for good in GOOD[name]:
        assert re.fullmatch(regex, good), good
        settings, _ = parse([f"--{name}={good}"], "import", "", None)
        assert option.name in settings.given() or good in (default, "import")
    for bad in BAD.get(name, []):
        assert not re.fullmatch(regex, bad), bad


def test_a_literal_secret_is_refused_where_it_is_typed() -> None:
    for name, each in listed().items():
        if "reference" in each["label"]:
            assert "never the secret itself" in each["helpText"]
            assert BAD[name]


def test_what_only_local_runs_have_is_not_listed() -> None:
    assert not {"progress", "report", "dry_run"} & listed().keys()


def test_the_switches_take_what_the_launcher_says() -> None:
    settings, _ = parse(["--preflight=true", "--allow_http=false"], "import", "", None)
    assert (settings.preflight, settings.allow_http) == (True, False)
    settings, _ = parse(["--allow_http"], "import", "", None)
    assert (settings.preflight, settings.allow_http) == (False, True)


def test_what_build_sh_asks_gcloud_for(tmp_path) -> None:
    """gcloud is not here; what it would be asked for is, and the files that it is given are."""
    said = tmp_path / "said"
    (tmp_path / "gcloud").write_text(
        f'#!/bin/sh\npwd >> {said}\nprintf "%s\\n" "$@" -- >> {said}\n'
    )
    (tmp_path / "gcloud").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(FOLDER / "build.sh"), "acme", "europe-west1", "images", "gs://acme/templates/"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    image = f"europe-west1-docker.pkg.dev/acme/images/mixpanel-sink:{__version__}"
    jobs = {"metadata": "", "profiles": "profiles-", "replay": "replay-", "stream": "stream-"}
    names = [f"{part}{__version__}.json" for part in [*jobs.values(), "verify-"]]
    templates = [f"gs://acme/templates/mixpanel-sink-{name}" for name in names]
    assert done.stdout == "".join(f"Template: {template}\n" for template in templates)
    build, *specs = said.read_text().split("--\n")[:-1]
    place, *build = build.splitlines()
    assert place == str(ROOT)
    assert build == [
        *("builds", "submit", ".", "--project=acme"),
        "--config=configs/flex_template/cloudbuild.yaml",
        f"--substitutions=_IMAGE={image}",
    ]
    for template, job, spec in zip(templates, [*jobs, "verify"], specs, strict=True):
        assert spec.splitlines()[1:] == [
            *("dataflow", "flex-template", "build", template, "--project=acme", f"--image={image}"),
            "--sdk-language=PYTHON",
            f"--metadata-file=configs/flex_template/{job}.json",
        ]
        assert (FOLDER / f"{job}.json").exists()
    for name in ("cloudbuild.yaml", "Dockerfile"):
        assert (FOLDER / name).exists()


def test_build_sh_without_arguments_says_how() -> None:
    done = subprocess.run([FOLDER / "build.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")
    assert "PROJECT REGION REPOSITORY gs://BUCKET/FOLDER" in done.stderr


def test_the_documents_commands_are_ones() -> None:
    """Names of parameters and options in docs/dataflow.md, and the script's arguments."""
    text = (ROOT / "docs/dataflow.md").read_text()
    (given,) = re.findall(r"--parameters='\^~\^(.*?)'", text)
    pairs = [pair.split("=", 1) for pair in given.split("~")]
    for name, value in pairs:
        assert re.fullmatch(listed()[name]["regexes"][0], value), name
    assert {name for name, _ in pairs} >= REQUIRED
    (command,) = re.findall(
        r"^python -m pipelines.parquet_to_mixpanel \\\n((?: +--.*\n)+)", text, re.M
    )
    arguments = shlex.split(command.replace("\\\n", " "))
    _, checked = parse(arguments, "import", "", None)
    known = checked.get_all_options()
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        assert name.replace("-", "_") in known, argument
    assert "build.sh PROJECT REGION REPOSITORY gs://BUCKET/templates" in text
