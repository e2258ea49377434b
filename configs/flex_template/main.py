"""What the Flex Template's launcher runs: the Parquet pipeline, from this file's folder.

It builds the graph, runs it and returns. It does not wait for the job.
"""

import sys

from mixpanel_sink.jobs.import_parquet import main

if __name__ == "__main__":
    sys.exit(main())
