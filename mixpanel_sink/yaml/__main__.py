"""Prints where the provider file lies."""

from mixpanel_sink.yaml import PROVIDER

print(PROVIDER)
