"""`make demo`: 100,000 shop events, seven of them bad, into the emulator."""

import sys

from mixpanel_sink.jobs.demo import main

if __name__ == "__main__":
    sys.exit(main())
