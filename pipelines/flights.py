"""`make flights`: three million real flights into the emulator, twice."""

import sys

from mixpanel_sink.jobs.flights import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
