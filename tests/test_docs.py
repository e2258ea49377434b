"""What the documents list is what the code has."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from mixpanel_sink import metrics
from mixpanel_sink.mapping import EventMapping
from mixpanel_sink.results import REASONS

ROOT = pathlib.Path(__file__).parent.parent


def reasons() -> Iterator[str]:
    """Every reason code in the source: first argument of RecordError, `reason=` elsewhere."""
    for path in (ROOT / "mixpanel_sink").rglob("*.py"):
        if "emulator" in path.parts:
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


def test_every_counter_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "mixpanel_sink").glob("*.py"))
    for name in set(re.findall(r'metrics\.count\(\s*"(\w+)"', source)):
        assert name in (metrics.__doc__ or ""), name


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_the_configs_are_mappings(name: str) -> None:
    EventMapping.from_yaml((ROOT / "configs" / name).read_text())


def test_the_readmes_mapping_is_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    EventMapping.from_yaml(block)


def test_links_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
