"""Runnable example pipelines, also the launchers of the Flex Templates."""
