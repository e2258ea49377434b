"""Ctrl-C while a command is being imported."""

from __future__ import annotations

import subprocess
import sys

from mixpanel_sink.interrupts import NOTHING_SENT

MODULES = (
    *("typer", "mixpanel_sink.cli.app", "mixpanel_sink.settings.options"),
    *("mixpanel_sink.jobs.startup", "numpy", "polars", "apache_beam", "apache_beam.coders.coders"),
    *("pyarrow.lib", "mixpanel_sink.read.registry", "mixpanel_sink.jobs.build"),
)
"""Where the Ctrl-C comes: modules that `import` imports, early and late, in Python and in C."""

EACH = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == NAME:
            print("Ctrl-C in", name, flush=True)
            os.kill(os.getpid(), signal.SIGINT)

from mixpanel_sink.cli import main
for NAME in sys.argv[1:]:
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    else:
        sys.meta_path.insert(0, Interrupt())
        sys.argv[1:] = ["import", "a.parquet", "--api-secret=x"]
        main()
"""


def test_ctrl_c_during_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EACH, *MODULES], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"\n{NOTHING_SENT}\n" * len(MODULES)
    assert done.stdout.splitlines() == [
        line for name in MODULES for line in (f"Ctrl-C in {name}", "130")
    ]
