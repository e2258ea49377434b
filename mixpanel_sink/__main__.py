"""`python -m mixpanel_sink`: the `mixpanel-sink` command, where its script is not on the path."""

from mixpanel_sink.cli import main

if __name__ == "__main__":
    main()
