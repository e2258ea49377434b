"""Brings chunks to Mixpanel: waiting, posting, retrying, settling. No Beam. From a chunk's arrival
to its end:

| modules                              | what they hold                                           |
|--------------------------------------|----------------------------------------------------------|
| `dispatch`, `gate`                   | chunks in their order; what a request must pass          |
| `lane`, `lanes`                      | the quota of a lane on this worker                       |
| `window`, `waits`, `size_limit`      | what a lane counts: requests, waiting, sizes refused     |
| `sender`, `part`, `policy`           | the loop that brings a chunk to its end                  |
| `deliver`, `plan`, `messages`        | one request; what follows from its response; in words    |
| `settle`, `tally`                    | receipts and failed records; counts of this process      |
| `preflight`                          | a first request that only asks whether all is well       |
| `lookup_table`                       | lookup tables, which are replaced as a whole             |
"""
