"""The checkpoint: a log of what Mixpanel has accepted, outside the runner.

A runner that retries a bundle, or a job that is started again after a kill, makes the
same chunks again. Those that the log knows are not sent: at 60 requests an hour each
costs a minute. What the log does not know is sent, and Mixpanel's deduplication guards it.

`owner` says what a checkpoint belongs to, `journal` how it lies on disk or in cloud storage,
`events` and `updates` what its lines mean, and `registry` keeps the open logs of a process.
"""
