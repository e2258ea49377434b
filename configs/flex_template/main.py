"""What the Flex Template's launcher runs: the import of files, from this file's folder.

It builds the graph, runs it and returns. It does not wait for the job.
"""

import sys

from mixpanel_sink.jobs.import_files import main

if __name__ == "__main__":
    sys.exit(main())
