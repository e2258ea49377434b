#!/bin/sh
# Cloud Scheduler launches the Flex Template every night, by Dataflow's own API. The job's name is always the same, and
# Dataflow refuses a second job of the same name while the first one runs: that is the lock.
#
#   ./cloud_scheduler.sh PROJECT REGION SERVICE_ACCOUNT
#
# SERVICE_ACCOUNT needs roles/dataflow.developer, and roles/iam.serviceAccountUser on the workers' account.
set -eu
project=$1 region=$2 account=$3
gcloud scheduler jobs create http mixpanel-import \
    --project="$project" --location="$region" \
    --schedule="15 2 * * *" --time-zone=UTC \
    --http-method=POST \
    --uri="https://dataflow.googleapis.com/v1b3/projects/$project/locations/$region/flexTemplates:launch" \
    --headers=Content-Type=application/json \
    --message-body-from-file="$(dirname "$0")/cloud_scheduler.json" \
    --oauth-service-account-email="$account" \
    --max-retry-attempts=3 --min-backoff=5m
