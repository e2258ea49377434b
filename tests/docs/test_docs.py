"""What the documents list is what the code has."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import apache_beam as beam
import pytest
import requests

from mixpanel_sink.api.identity import identify
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.report import metrics
from mixpanel_sink.results import REASONS
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping, UpdateMapping
from mixpanel_sink.settings.project import projects_from_yaml
from mixpanel_sink.write import WriteToMixpanel

ROOT = pathlib.Path(__file__).parents[2]


def reasons() -> Iterator[str]:
    """Every reason code in the source: first argument of RecordError, `reason=` elsewhere."""
    for path in (ROOT / "mixpanel_sink").rglob("*.py"):
        if "emulator" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = [k.value for k in node.keywords if k.arg == "reason"]
            if name == "RecordError" and node.args:
                given.append(node.args[0])
            for value in given:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def test_every_reason_is_documented() -> None:
    documented = set()
    for row in re.findall(r"^\| (`.*?) \|", (ROOT / "docs/failures.md").read_text(), re.MULTILINE):
        documented |= set(re.findall(r"`([a-z_0-9]+)`", row))
    found = set(reasons())
    assert len(found) > 20
    assert found <= REASONS, found - REASONS
    assert documented == REASONS, documented ^ REASONS


def test_every_key_of_the_mapping_is_documented() -> None:
    text = (ROOT / "docs/mapping.md").read_text()
    for name in EventMapping.__dataclass_fields__:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("mapping", [ProfileMapping, GroupMapping])
def test_every_key_of_the_mappings_of_profiles_is_documented(mapping: type[UpdateMapping]) -> None:
    section = (ROOT / "docs/mapping.md").read_text().partition("## Profiles and groups")[2]
    keys = "".join(re.findall(r"^\| (`.*?) \|", section.partition("## Time")[0], re.MULTILINE))
    for field in dataclasses.fields(mapping):
        assert f"`{field.name}`" in keys, field.name


def texts_of_the_source() -> Iterator[str]:
    """Every text in the source, with its parts that are worked out as an ellipsis."""
    for folder in ("mixpanel_sink", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            if "emulator" in path.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant)
                                  else "…" for part in node.values)  # fmt: skip
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_troubleshooting_texts_are_in_the_source() -> None:
    rows = re.findall(
        r"^\| `(.*?)` \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 20
    source = list(texts_of_the_source())
    for text in rows:
        assert any(text in each for each in source), text


def names_of_tests(path: pathlib.Path) -> Iterator[str]:
    """The names of a file's tests and classes of tests, as pytest has them."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}::{inner.name}"


def test_the_pages_paragraphs_name_tests_that_exist() -> None:
    text = (ROOT / "docs/mixpanel-page.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", text)
    assert len(named) > 50
    for path, test in named:
        assert test in set(names_of_tests(ROOT / path)), f"{path}::{test}"
    rows = [row for row in text.splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 30
    for row in rows:
        assert "::" in row.split("|")[4], row


def test_every_fault_has_a_test() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 20
    for row in rows:
        path, _, test = row.split("|")[3].strip().strip("`").partition("::")
        assert test in set(names_of_tests(ROOT / path)), row


def test_every_counter_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "mixpanel_sink").glob("*.py"))
    for name in set(re.findall(r'metrics\.count\(\s*"(\w+)"', source)):
        assert name in (metrics.__doc__ or ""), name


READERS: dict[str, Callable[[str], object]] = {
    "profiles.yaml": ProfileMapping.from_yaml,
    "groups.yaml": GroupMapping.from_yaml,
    "projects.yaml": projects_from_yaml,
}
"""Of the configs that are no mapping of events."""


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_the_configs_are_what_they_are_for(name: str) -> None:
    READERS.get(name, EventMapping.from_yaml)((ROOT / "configs" / name).read_text())


def python_of(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)


@pytest.mark.parametrize("name", ["endpoints.md", "many-projects.md"])
def test_the_documents_python_builds(name: str) -> None:
    """Each block, on rows that need not run, under one roof with those before it."""
    rows = beam.Pipeline("DirectRunner") | beam.Create([{"user_id": "u", "device_id": "d"}])
    mapping = EventMapping(event="e", distinct_id="u", time="t")
    known = {"rows": rows, "mapping": mapping, "beam": beam, "identify": identify,
             "WriteToMixpanel": WriteToMixpanel}  # fmt: skip
    blocks = python_of(name)
    assert blocks
    for number, block in enumerate(blocks):
        labelled = block.replace("| Write", f"| 'W{number}' >> Write")
        exec(compile(labelled, f"{name}, block {number}", "exec"), known)


def test_the_mapping_at_the_top_of_its_page_is_one() -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/mapping.md").read_text(), re.DOTALL)
    assert block
    EventMapping.from_yaml(block[1])


def test_java_and_go_start_and_ask_an_emulator_that_there_is() -> None:
    text = (ROOT / "docs/testing.md").read_text().partition("## Java and Go")[2]
    options = {name for name in re.findall(r"(--[a-z-]+)", text)}
    image = {"--file", "--target", "--tag", "--rm", "--publish"}
    run = [sys.executable, "-m", "mixpanel_sink.cli", "emulator", "--help"]
    known = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert {"--api-secret", "--quota"} <= options
    assert all(re.search(rf"{name}\b", known) for name in options - image)
    with Emulator() as emulator:
        for path in set(re.findall(r"GET (/emulator/\w+)|`(/emulator/\w+)`", text)):
            assert requests.get(emulator.url + "".join(path), timeout=30).status_code == 200, path
        stats = requests.get(f"{emulator.url}/emulator/stats", timeout=30).json()
        for key in re.findall(r'json:"(\w+)"|get\("(\w+)"\)', text):
            assert "".join(key) in stats
        for path in re.findall(r"POST (/emulator/\w+)", text):
            body: list[object] | None = [] if path.endswith("faults") else None
            assert requests.post(emulator.url + path, json=body, timeout=30).ok, path


def test_links_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_architecture_names_every_folder_and_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in (ROOT / "mixpanel_sink").iterdir():
        if path.name.startswith("_") or not (path.suffix == ".py" or path.is_dir()):
            continue
        name = f"`{path.name}/`" if path.is_dir() else f"`{path.name}`"
        assert name in text, name
