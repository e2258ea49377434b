"""``python -m mixpanel_sink.cli``: the same as ``mixpanel-sink``."""

import sys

from mixpanel_sink.cli import main

if __name__ == "__main__":
    sys.exit(main())
