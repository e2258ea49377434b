"""Prints where the provider file lies; with --remote, one for machines without the package."""

import sys

from mixpanel_sink.yaml import PROVIDER, remote_provider

if sys.argv[1:] == ["--remote"]:
    print(remote_provider(), end="")
else:
    print(PROVIDER)
