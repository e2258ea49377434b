"""metadata.json says what the pipeline takes, and build.sh what gcloud is to do."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from mixpanel_sink.jobs.options import MixpanelOptions, pipeline_arguments

from mixpanel_sink import __version__
from tests.dataflow.conftest import ROOT

FOLDER = ROOT / "configs/flex_template"
TYPES = {"TEXT", "GCS_READ_FILE", "GCS_WRITE_FOLDER", "BOOLEAN", "ENUM", "NUMBER"}
REQUIRED = {"input", "mapping"}
GOOD = {
    "input": ["gs://b/*.parquet", "gs://b/a.parquet, gs://b/c/*.parquet"],
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
    "quota": ["60/hour", "600/minute", "30000 events/second, 2 GB/minute", "page", "none"],
    "lanes": ["1", "16"],
    "failed_output": ["gs://b/failed/run"],
    "checkpoint": ["gs://b/checkpoint"],
    "preflight": ["true"],
    "drop_properties": ["a,b"],
    "hash_properties": ["email"],
    "hash_key": ["gcpsecret:projects/p/secrets/s"],
    "progress": ["auto", "bar", "lines", "none"],
    "report": ["run.html"],
}
BAD = {
    "input": ["/data/a.parquet", "gs://b/a, b"],
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
    "quota": ["fast"],
    "failed_output": ["failed/run"],
    "checkpoint": ["here"],
}


def listed() -> dict[str, dict[str, Any]]:
    metadata = json.loads((FOLDER / "metadata.json").read_text())
    assert metadata["name"]
    assert metadata["description"]
    names = [each["name"] for each in metadata["parameters"]]
    assert len(names) == len(set(names))
    return {each["name"]: each for each in metadata["parameters"]}


def options() -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    MixpanelOptions._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


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
    assert each.get("defaultValue") == (None if default is None else str(default))
    assert (each["paramType"] == "BOOLEAN") == (option.default is False)
    assert (each["paramType"] == "NUMBER") == (option.type is int)
    assert (each["paramType"] == "ENUM") == ("enumOptions" in each)
    if option.choices:
        assert [choice["value"] for choice in each["enumOptions"]] == list(option.choices)
    (regex,) = each["regexes"]
    for good in GOOD[name]:
        assert re.fullmatch(regex, good), good
    for bad in BAD.get(name, []):
        assert not re.fullmatch(regex, bad), bad


def test_a_literal_secret_is_refused_where_it_is_typed() -> None:
    for name, each in listed().items():
        if "reference" in each["label"]:
            assert "never the secret itself" in each["helpText"]
            assert BAD[name]


def test_what_only_local_runs_have_says_so() -> None:
    for name in ("progress", "report"):
        assert "local runs only" in listed()[name]["label"]


def test_the_switches_take_what_the_launcher_says() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    MixpanelOptions._add_argparse_args(parser)
    given = parser.parse_args(["--preflight=true", "--allow_http=false"])
    assert (given.preflight, given.allow_http) == (True, False)
    given = parser.parse_args(["--allow_http"])
    assert (given.preflight, given.allow_http) == (False, True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--allow_http=perhaps"])


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
    template = f"gs://acme/templates/mixpanel-sink-{__version__}.json"
    assert done.stdout == f"Template: {template}\n"
    build, spec = said.read_text().split("--\n")[:2]
    place, *build = build.splitlines()
    assert place == str(ROOT)
    assert build == [
        *("builds", "submit", ".", "--project=acme"),
        "--config=configs/flex_template/cloudbuild.yaml",
        f"--substitutions=_IMAGE={image}",
    ]
    assert spec.splitlines()[1:] == [
        *("dataflow", "flex-template", "build", template, "--project=acme", f"--image={image}"),
        "--sdk-language=PYTHON",
        "--metadata-file=configs/flex_template/metadata.json",
    ]
    for name in ("cloudbuild.yaml", "metadata.json", "Dockerfile"):
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
    checked = pipeline_arguments(arguments, "", None, MixpanelOptions)
    known = PipelineOptions(checked).get_all_options()
    for argument in checked:
        assert argument.removeprefix("--").partition("=")[0] in known, argument
    assert "build.sh PROJECT REGION REPOSITORY gs://BUCKET/templates" in text
