"""The table of options, and the one place where text becomes values."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import subprocess
import sys
from typing import Any

import pytest

from mixpanel_sink import (
    ApiSecret,
    Limits,
    Privacy,
    ProjectToken,
    Quota,
    RetryPolicy,
    ServiceAccount,
    SettingError,
    WriteProfilesToMixpanel,
    WriteToMixpanel,
)
from mixpanel_sink.settings.options import OPTIONS, REFERENCES, Settings, options_of


def test_text_and_values_make_the_same_settings() -> None:
    texts = {
        "input": "a, b", "quota": "600/minute", "lanes": "3", "preflight": "true",
        "transient_seconds": "60", "hash_properties": "email,phone", "projects": None, "report": "",
    }  # fmt: skip
    values = {
        "input": ("a", "b"), "quota": Quota.parse("600/minute"), "lanes": 3, "preflight": True,
        "transient_seconds": 60, "hash_properties": ["email", "phone"],
    }  # fmt: skip
    made = Settings.of(texts, "import")
    assert made == Settings.of(values, "import")
    assert made.given() == {
        "input": "a,b", "quota": "600/minute", "lanes": 3, "preflight": True,
        "transient_seconds": 60.0, "hash_properties": "email,phone",
    }  # fmt: skip
    assert Settings.of(made.given(), "import") == made
    assert Settings.of({"from": "2024-05-31"}, "verify").from_day == datetime.date(2024, 5, 31)


def test_what_files_and_shells_leave_around_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks, line ends of Windows, a byte order mark, capitals, and a ~ after an equals sign."""
    monkeypatch.setenv("HOME", "/home/me")
    texts = {
        "region": " EU\r\n", "quota": "\ufeff60/hour\n", "lanes": " 3 ", "from": " 2024-05-31\r",
        "format": "JSONL ", "api_secret": " env:A\n", "progress": "None", "rows": " 10",
        "endpoint": "https://mixpanel.test\n", "mapping": "~/m.yaml\r\n", "checkpoint": "~/c",
    }  # fmt: skip
    made = Settings.of({k: v for k, v in texts.items() if k != "rows"}, "import")
    assert made.given() == {
        "region": "eu", "quota": "60/hour", "lanes": 3, "from": "2024-05-31", "format": "jsonl",
        "api_secret": "env:A", "progress": "none", "endpoint": "https://mixpanel.test",
        "mapping": "/home/me/m.yaml", "checkpoint": "/home/me/c",
    }  # fmt: skip
    assert Settings.of({"rows": texts["rows"]}, "check").rows == "10"
    # Blanks may belong to names, and to a condition's text.
    kept = Settings.of({"destination": " team ", "where": "a = ' '", "delimiter": "\t"}, "import")
    assert (kept.destination, kept.where, kept.delimiter) == (" team ", "a = ' '", "\t")


@pytest.mark.parametrize(
    ("name", "value", "face", "says"),
    [
        ("lanes", "two", "import", "--lanes is 'two'; it must be a whole number."),
        ("lanes", True, "rows", "--lanes is True; it must be a number."),
        ("max_latency", "soon", "stream", "--max-latency is 'soon'; it must be a number of"),
        ("preflight", "yes", "import", "--preflight is 'yes'; it must be true or false."),
        ("preflight", 1, "import", "--preflight is 1; it must be true or false."),
        ("progress", "loud", "import", "it must be auto, bar, lines or none."),
        ("region", "mars", "import", "--region is 'mars'; it must be us, eu or in."),
        ("from", "May", "verify", "--from is 'May'; give a day such as 2024-05-31."),
        ("rows", "0", "check", "--rows is '0'; give a number of rows, or all."),
        ("quota", "sixty", "import", "The quota 'sixty' cannot be read"),
        ("drop_properties", 3, "rows", "it must be a list of texts"),
        ("qouta", "60/hour", "import", "'qouta' is unknown. Did you mean 'quota'?"),
        ("preflight", "true", "rows", "'preflight' is unknown"),
    ],
)
def test_what_cannot_be_read(name: str, value: Any, face: str, says: str) -> None:
    with pytest.raises(SettingError) as raised:
        Settings.of({name: value}, face)
    assert says in str(raised.value)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda each: each.name)
def test_an_option_is_described(option: Any) -> None:
    assert option.label
    assert option.help.endswith(".")
    assert option.faces
    assert len(option.metavar) <= 12
    default = getattr(Settings(), option.field)
    assert default == option.default
    if (shown := option.kind.show(default)) is not None:
        assert option.kind.read(str(shown).lower() if shown is False else shown) == default


def test_python_has_what_the_table_says() -> None:
    """Python's keywords are written by hand, for type checkers; they are the table's."""
    keywords = {
        *inspect.signature(WriteToMixpanel).parameters,
        *inspect.signature(WriteProfilesToMixpanel).parameters,
    }
    of_objects = {
        "mapping": {"mapping", "from", "to", "events", "where"},
        "limits": {field.name for field in dataclasses.fields(Limits)},
        "retry": {field.name for field in dataclasses.fields(RetryPolicy)},
        "privacy": {f"{each.name}_properties" for each in dataclasses.fields(Privacy)}
        | {"hash_key"},
        "credentials": {"api_secret", "service_account", "service_account_secret"}
        | {"project_id", "project_token"},
    }
    assert all(dataclasses.is_dataclass(each) for each in (ApiSecret, ServiceAccount, ProjectToken))
    for option in OPTIONS:
        if option.python:
            assert option.python in keywords, option.name
            assert option.name in of_objects.get(option.python, {option.python}), option.name
    for name in ("limits", "retry"):
        listed = {each.name for each in OPTIONS if each.python == name}
        assert listed == of_objects[name], "each of its fields is an option"
    # Functions and objects of Python, and what commands and rows do in ways of their own.
    only_python = keywords - {option.python for option in OPTIONS}
    assert only_python == {"clock", "rate_limiter", "check_accounting", "on_failure", "accepted"}


def test_every_face_has_the_options_that_decide_what_is_sent() -> None:
    same = {"mapping", "drop_properties", "hash_properties", "hash_key", "event_bytes"}
    same |= {"max_age_seconds"}
    for face in ("import", "check", "verify", "replay", "stream", "template", "rows"):
        assert same <= {option.name for option in options_of(face)}, face


def test_references_are_known_as_such() -> None:
    assert set(REFERENCES) == {
        "api_secret", "service_account_secret", "project_token", "hash_key", "notify"
    }  # fmt: skip


def test_the_table_needs_no_beam() -> None:
    code = "import sys, mixpanel_sink.settings.options; assert 'apache_beam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
