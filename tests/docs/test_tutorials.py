"""Each tutorial is followed from its first block to its last, in one folder."""

from __future__ import annotations

import pathlib
import re

import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.demo import shop_events
from tests.docs.test_doc_blocks import ROOT, blocks, commands, run, server, there

__all__ = ["server"]  # a fixture

TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_works_as_written(path: pathlib.Path, tmp_path: pathlib.Path, server: Emulator) -> None:
    server.reset(quota="none")
    (tmp_path / "events").mkdir()
    pq.write_table(shop_events(3000), tmp_path / "events/2024-05-06.parquet")
    ran = 0
    for block in blocks(path):
        language, _, more = block.language.partition(" ")
        if title := re.search(r'title="(.+?)"', more):
            (tmp_path / title[1]).write_text(there(block.text, tmp_path, server) + "\n")
        elif language == "sh":
            ran += sum(run(command, tmp_path, server) == "ran" for command in commands(block.text))
        else:
            pytest.fail(f"{block.name}: a block of a tutorial is a command, or a file with a title")
    assert ran >= 3
    stored = server.stats()["events_distinct"]
    assert stored == {"csv": 4, "beam": 3, "warehouse": 2993}[path.stem]
