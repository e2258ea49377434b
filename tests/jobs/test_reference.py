"""What is made from the table of options, and that one line in the table is enough."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

from mixpanel_sink.jobs import reference
from tests import virtual_environment

ROOT = pathlib.Path(__file__).parents[2]
HOW = "python -m mixpanel_sink.jobs.reference makes it"
ADDED = """
    frobnicate: int | None = option(
        None, NUMBER, SENDING, (*EVERYWHERE, "check", "verify", "init", "doctor"),
        label="Frobnicate", help="How much to frobnicate.",
    )
"""
FACES = """
import contextlib, io, json
from apache_beam.yaml.yaml_provider import InlineProvider
from mixpanel_sink import expansion_service, rows
from mixpanel_sink.cli import main as command
from mixpanel_sink.jobs import reference
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.settings.options import Settings

def helped(call, *arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        call(list(arguments))
    return out.getvalue()

for verb in ("init", "check", "import", "replay", "verify", "doctor"):
    assert "--frobnicate" in helped(command, verb, "--help"), verb
for verb in ("import", "replay", "stream"):
    assert parse(["--frobnicate=3"], verb, "", None)[0].frobnicate == 3, verb
    assert parse(["--frobnicate=3"], verb, "", None)[1].get_all_options()["frobnicate"] == 3
    assert "--frobnicate" in helped(lambda words: parse(words, verb, "", None), "--help"), verb
template = {each["name"]: each for each in json.loads(reference.metadata())["parameters"]}
assert template["frobnicate"]["paramType"] == "NUMBER"
assert "`--frobnicate N`" in reference.page()
assert "frobnicate" in expansion_service.settings()
schema = InlineProvider({"W": rows.WriteRowsToMixpanel}).config_schema("W")
(field,) = [field for field in schema.fields if field.name == "frobnicate"]
assert field.description == "How much to frobnicate."
assert Settings.of({"frobnicate": 3}, "rows").frobnicate == 3
print("on every face")
"""


def test_the_committed_files_are_those_that_it_makes() -> None:
    assert (ROOT / reference.METADATA).read_text() == reference.metadata(), HOW
    assert (ROOT / reference.PAGE).read_text() == reference.page(), HOW


def test_an_option_in_the_table_is_on_every_face(tmp_path: pathlib.Path) -> None:
    """It is added to a copy of the package, in one place."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "mixpanel_sink", tmp_path / "mixpanel_sink", ignore=skip)
    table = tmp_path / "mixpanel_sink/settings/options.py"
    place = "\n    @classmethod\n    def of("
    assert table.read_text().count(place) == 1
    table.write_text(table.read_text().replace(place, ADDED + place))
    done = subprocess.run(
        [sys.executable, "-c", FACES],
        cwd=tmp_path,
        env=virtual_environment.without_clone(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "on every face\n"
