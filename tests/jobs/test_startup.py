"""What a launcher imports, in a process of its own: here Beam is imported already."""

import os
import subprocess
import sys

CODE = """
import gc, sys
import mixpanel_sink.jobs.startup
import apache_beam, objsize, polars, pyarrow
polars.from_arrow(pyarrow.table({"a": pyarrow.array([1.5, None])})).rows()
objsize.get_deep_size("looks through all modules")
late = {"google.cloud." + name for name in ("bigquery", "dataflow", "pubsub")}
late |= {"pandas", "bson", "pymongo"}
print(gc.isenabled(), *sorted(late & set(sys.modules)))
print(pyarrow.default_memory_pool().backend_name)
from apache_beam.io.gcp import pubsub as in_beam
print(in_beam.pubsub.PublisherClient.__name__)
from google.cloud import pubsub
print(pubsub.__name__, type(pubsub).__name__)
from apache_beam.io.filesystems import FileSystems
print(type(FileSystems.get_filesystem("gs://bucket/object")).__name__)
from apache_beam.runners import create_runner
print(type(create_runner("DataflowRunner")).__name__)
"""


def test_what_is_not_needed_is_loaded_on_first_use() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ARROW_")}
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, env=env
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "True",
        "system",
        "PublisherClient",
        "google.cloud.pubsub module",
        "GCSFileSystem",
        "DataflowRunner",
    ]


ENDING = """
import atexit, sys, threading, time
from mixpanel_sink.jobs.startup import leave
atexit.register(lambda: print("registered"))
threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
print("some words on stderr", file=sys.stderr)
leave(3)
print("never")
"""


def test_the_end_is_quick_but_orderly() -> None:
    run = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert run.returncode == 3
    assert run.stdout.split() == ["thread", "registered"]
    assert run.stderr == "some words on stderr\n"
