#!/bin/sh
# dbt, then Mixpanel: what the models have made goes out only if all of them and their tests succeeded.
# (A hook inside of dbt runs SQL only, so this is run in the place of `dbt build`.)
set -eu
dbt build --select +mixpanel_events
flock --nonblock --conflict-exit-code 0 import.lock \
    mixpanel-sink import bq://my-project.marts.mixpanel_events --mapping mapping.yaml --region eu \
    --row-restriction "updated_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 2 DAY)" \
    --run-property import_run --notify env:SLACK_WEBHOOK
