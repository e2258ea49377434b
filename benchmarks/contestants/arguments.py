"""The command line that every contestant has."""

from __future__ import annotations

import argparse


def parse() -> tuple[str, str]:
    """The input file and the endpoint's base URL."""
    path, endpoint, rest = parse_some()
    if rest:
        raise SystemExit(f"unknown arguments: {' '.join(rest)}")
    return path, endpoint


def parse_some() -> tuple[str, str, list[str]]:
    """The same, and the arguments that are left."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--endpoint", required=True)
    options, rest = parser.parse_known_args()
    return options.input, options.endpoint, rest
