"""What a launcher imports, in a process of its own: here Beam is imported already."""

import subprocess
import sys

CODE = """
import gc, sys
import pipelines.startup
assert gc.isenabled() and pipelines.startup._finder not in sys.meta_path
loaded = {name for name in sys.modules if type(sys.modules[name]).__name__ != "_LazyModule"}
print(*sorted(loaded & {"google.cloud.dataflow", "google.cloud.pubsub", "pandas", "torch"}))
from google.cloud import pubsub
print(pubsub.PublisherClient.__name__)
from apache_beam.io.filesystems import FileSystems
print(type(FileSystems.get_filesystem("gs://bucket/object")).__name__)
from apache_beam.runners import create_runner
print(type(create_runner("DataflowRunner")).__name__)
"""


def test_what_is_not_needed_is_loaded_on_first_use() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["", "PublisherClient", "GCSFileSystem", "DataflowRunner"]
