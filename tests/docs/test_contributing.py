"""The format that CONTRIBUTING.md adds is one module and one line, and works."""

from __future__ import annotations

import pathlib
import re
import sys
import types

import pytest

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read import registry
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.results import FailedRecord
from tests.docs.test_docs import ROOT


def test_the_format_of_the_example(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (name, entry) = re.findall(r'^\+    "(\w+)": (_Entry.*),$', text, re.M)[0]
    path = tmp_path / "a.log"
    path.write_text("2024-05-06T07:08:09Z u1 Sign up\nwrong\n2024-05-06T07:08:10Z u2 Log in\n")
    with pytest.raises(SettingError, match="no format"):
        registry.make_format(name, {})

    module = types.ModuleType(f"mixpanel_sink.read.{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, module.__name__, "exec"), vars(module))
    made = eval(entry, {"_Entry": registry._Entry})
    monkeypatch.setitem(registry.FORMATS, name, made)
    source = FileSource(str(path))
    assert source.schema().names == ["at", "user", "event"]
    assert [row["event"] for row in source.sample(5).to_pylist()] == ["Sign up", "Log in"]
    bad, block = source.elements()
    assert isinstance(bad, FailedRecord)
    assert (bad.file, bad.row, bad.reason) == (str(path), 1, "line_unreadable")
    assert list(block.offsets) == [0, 2]
