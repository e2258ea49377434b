"""What a launcher imports, in a process of its own: here Beam is imported already."""

import os
import pathlib
import subprocess
import sys

CODE = """
import gc, sys
import mixpanel_sink.jobs.startup
import apache_beam, objsize, polars, pyarrow
polars.from_arrow(pyarrow.table({"a": pyarrow.array([1.5, None])})).rows()
objsize.get_deep_size("looks through all modules")
late = {"google.cloud." + name for name in ("bigquery", "dataflow", "pubsub")}
late |= {"pandas", "bson", "pymongo", "google.cloud.storage", "boto3", "azure"}
print(gc.isenabled(), *sorted(late & set(sys.modules)))
print(pyarrow.default_memory_pool().backend_name)
from apache_beam.io.gcp import pubsub as in_beam
print(in_beam.pubsub.PublisherClient.__name__)
from google.cloud import pubsub
print(pubsub.__name__, type(pubsub).__name__)
from apache_beam.io.filesystems import FileSystems
for scheme in ("gs", "s3", "azfs"):
    print(type(FileSystems.get_filesystem(f"{scheme}://bucket/object")).__name__)
print(hasattr(apache_beam.io.gcp.gcsio, "GcsIO"))
from apache_beam.runners import create_runner
print(type(create_runner("DataflowRunner")).__name__)
"""


def printed(code: str, *arguments: str) -> list[str]:
    """The lines that a program prints in a new process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ARROW_")}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=300, env=env, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_what_is_not_needed_is_loaded_on_first_use() -> None:
    assert printed(CODE) == [
        "True",
        "system",
        "PublisherClient",
        "google.cloud.pubsub module",
        "GCSFileSystem",
        "S3FileSystem",
        "BlobStorageFileSystem",
        "True",
        "DataflowRunner",
    ]


USERS = """
import sys, typing
import mixpanel_sink.jobs.import_files
import apache_beam as beam
import importlib.util
import polars
import pyarrow
from apache_beam.typehints.batch import BatchConverter

class Row(typing.NamedTuple):
    kind: str
    amount: int

hidden = {"pandas", "bson", "pymongo", "apache_beam.io.mongodbio", "apache_beam.io.gcp.bigquery"}
hidden |= {"beartype", "httplib2", "apitools", "oauth2client"}
print("at the start:", *sorted(hidden & set(sys.modules)))
from apache_beam.internal import pickler
from apache_beam.io.gcp import bigquery
mine = pickler.dumps(lambda: bigquery.BigQueryDisposition.WRITE_APPEND)
print(pickler.loads(mine)())
print(beam.io.WriteToBigQuery.__module__, beam.io.BigQueryDisposition.WRITE_APPEND)
print(beam.io.gcp.bigquery.ReadFromBigQuery.__module__)
from apache_beam.io import mongodbio
print(beam.io.ReadFromMongoDB.__module__, beam.io.mongodbio.MongoClient.__module__)
print(importlib.util.find_spec("pandas").name)  # which imports nothing
from apache_beam.io import ReadFromCsv
import pandas
print(polars.from_pandas(pandas.DataFrame({"a": [1]})).columns)
converter = BatchConverter.from_typehints(element_type=Row, batch_type=pandas.DataFrame)
print(type(converter).__name__)
print(pyarrow.array(pandas.Series([1.0, None])).null_count)  # Arrow looks at once for pandas
from apache_beam.dataframe.convert import to_dataframe, to_pcollection
with beam.Pipeline("FnApiRunner") as pipeline:
    rows = pipeline | ReadFromCsv(sys.argv[1])
    rows |= beam.Map(lambda row: Row(row.kind, row.amount + 1)).with_output_types(Row)
    sums = to_dataframe(rows).groupby("kind").sum()
    sums = to_pcollection(sums, include_indexes=True)
    _ = sums | beam.Map(lambda row: print(row.kind, row.amount))
print(beam.io.textio.ReadFromCsv is ReadFromCsv, hasattr(beam.io, "ReadFromNowhere"))
import apache_beam.yaml.yaml_provider
print("ReadFromCsv" in str(apache_beam.yaml.yaml_provider.standard_providers().keys()))
"""


def test_a_users_pipeline_finds_what_was_hidden(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.csv").write_text("kind,amount\na,1\na,2\n")
    assert printed(USERS, str(tmp_path / "x.csv")) == [
        "at the start:",
        "WRITE_APPEND",
        "apache_beam.io.gcp.bigquery WRITE_APPEND",
        "apache_beam.io.gcp.bigquery",
        "apache_beam.io.mongodbio pymongo.synchronous.mongo_client",
        "pandas",
        "['a']",
        "DataFrameBatchConverterDropIndex",
        "1",
        "a 5",
        "True False",
        "True",
    ]


PLACEHOLDERS = """
import sys
import mixpanel_sink.jobs.startup
from apache_beam.typehints import typehints
from apache_beam.utils import retry
print(retry.retry_on_server_errors_filter(ValueError()), "apitools" in sys.modules)
from apitools.base.py.exceptions import HttpError
for status in (503, 404):
    error = HttpError({"status": status}, b"", "url")
    print(status, retry.retry_on_server_errors_filter(error))
print(typehints.is_consistent_with(bool, int), typehints.is_consistent_with(str, int))
print(typehints.is_consistent_with("no hint", int))
print(typehints.is_subhint.__module__)
from apache_beam.internal.http_client import get_new_http
print(type(get_new_http()).__module__)
from apache_beam.runners.worker.statesampler import StateSampler
print(StateSampler("prefix", None).sampling_period_ms < 200)
from apache_beam.io import *
print(*(each.__name__ for each in (ReadFromBigQuery, ReadFromCsv, ReadFromMongoDB, ReadFromText)))
"""


def test_beam_asks_the_real_module_once_it_matters() -> None:
    assert printed(PLACEHOLDERS) == [
        "True False",
        "503 True",
        "404 False",
        "True False",
        "False",
        "beartype.door._func.doorcheck",
        "httplib2",
        "True",
        "ReadFromBigQuery ReadFromCsv ReadFromMongoDB ReadFromText",
    ]


OPTIONS = """
import mixpanel_sink.jobs.startup
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions
from apache_beam.transforms.core import get_function_args_defaults

class Mine(PipelineOptions):
    @classmethod
    def _add_argparse_args(cls, parser):
        parser.add_argument("--mine", default="none")

first = PipelineOptions(["--mine=1", "--streaming"])
first.view_as(Mine).view_as(DebugOptions).add_experiment("a")
first.view_as(Mine).mine = "2"
print(first.view_as(Mine).mine, first.view_as(StandardOptions).streaming)
second = PipelineOptions([], mine="3")
print(second.view_as(Mine).mine, second.view_as(StandardOptions).streaming)
print(first.view_as(DebugOptions).experiments, second.view_as(DebugOptions).experiments)
print(type(first.view_as(Mine)).__name__, first.view_as(Mine).get_all_options()["streaming"])

class Both:
    def method(self, one, two=2):
        pass

class Other(Both):
    def method(self, three, four=4, five=5):
        super().method(three)

for function in (Both().method, Both.method, Other().method, lambda six: None, Both().method):
    names, defaults = get_function_args_defaults(function)
    print(*names, *defaults)
    names.append("of the caller")
"""


def test_what_beam_looks_up_once_stays_what_it_was() -> None:
    assert printed(OPTIONS) == [
        "2 True",
        "3 False",
        "['a'] None",
        "Mine True",
        "one two 2",
        "self one two 2",
        "three four five 4 5",
        "six",
        "one two 2",
    ]


ENDING = """
import atexit, sys, threading, time
from mixpanel_sink.jobs.launcher import leave
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
