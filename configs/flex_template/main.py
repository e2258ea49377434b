"""What the Flex Templates' launcher runs, from this file's folder: the template's job."""

import sys

from mixpanel_sink.jobs.template import main

if __name__ == "__main__":
    sys.exit(main())
