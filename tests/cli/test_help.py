"""What --help and explain show."""

from __future__ import annotations

import json
import re

import pytest

from mixpanel_sink import codes
from mixpanel_sink.cli.app import _MADE
from mixpanel_sink.cli.help import GROUPS
from mixpanel_sink.settings.options import options_of
from tests.cli.conftest import Call

COMMANDS = [*_MADE, "lookup-table", "status", "demo", "emulator", "explain"]


@pytest.mark.parametrize("width", [80, 60, 200])
def test_help_fits_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for command in ((), *(name.split() for name in COMMANDS)):
        shown = call(*command, "--help")
        assert shown.code == 0
        assert shown.out.startswith("Usage: mixpanel-sink")
        long = [line for line in shown.out.splitlines() if len(line) > min(width, 100)]
        assert all(line.startswith("Example:") for line in long), long


def test_each_option_is_in_its_group_with_its_value_and_help(call: Call) -> None:
    for command in _MADE:
        out = call(*command.split(), "--help").out
        groups = re.split(r"\n\n(?=\S+)", out)
        for option in options_of(command):
            group = next(text for text in groups if text.startswith(f"{option.group}\n"))
            name = "FILES" if option.name == "input" else f"--{option.spelled}"
            value = f" {option.metavar}" if option.metavar and name.startswith("--") else ""
            assert f"{name}{value}" in group, (command, name)
            assert " ".join(option.help.split())[:20] in " ".join(group.split())
        assert "<bool>" not in out


def test_every_command_is_in_the_overview(call: Call) -> None:
    out = call("--help").out
    assert {name.split()[0] for name in COMMANDS} == {n for ns in GROUPS.values() for n in ns}
    for name in {name.split()[0] for name in COMMANDS}:
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name


@pytest.mark.parametrize("word", ["MXS511", "mxs511", "distinct_id_null"])
def test_explain(call: Call, word: str) -> None:
    shown = call("explain", word)
    assert shown.code == 0
    found = codes.find("MXS511")
    assert found is not None
    text = " ".join(shown.out.split())
    assert text.startswith(f"MXS511 distinct_id_null {found.meaning} What to do: {found.fix}")
    assert json.loads(call("explain", word, "--json").out)["fix"] == found.fix


def test_a_wrong_command_line_is_said_with_its_code(call: Call) -> None:
    help = "--help shows all options."
    for words, said in (
        ("chekc", "No such command 'chekc'. Did you mean 'check'? mixpanel-sink --help lists"),
        ("check a --maping m", f"The option --maping is unknown. Did you mean --mapping? {help}"),
        ("check", f"FILES… is missing; {help}"),
        ("lookup-table upload a.csv", f"--id is missing; {help}"),
        ("explain", f"CODE is missing; {help}"),
        ("check a -m", "Option '-m' requires an argument."),
    ):
        shown = call(*words.split())
        assert shown.code == 2
        assert shown.err.startswith(f"Error: {said}"), shown.err
        assert re.search(r"^  MXS10\d: mixpanel-sink explain MXS10\d$", shown.err, re.MULTILINE)
    shown = call("lookup-table")  # the help
    assert shown.out.startswith("Usage: mixpanel-sink lookup-table")
    assert shown.err == ""


def test_explain_what_nobody_knows(call: Call) -> None:
    shown = call("explain", "distinct_id_nul")
    assert shown.code == 2
    assert "Did you mean distinct_id_null?" in shown.err
    listed = call("explain", "all").out.splitlines()
    assert [line.split()[0] for line in listed] == [each.code for each in codes.CODES]
