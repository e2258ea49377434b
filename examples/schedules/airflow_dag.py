"""Airflow: every night the files that are new go to Mixpanel, by the Dataflow Flex Template.

Put this file into the folder of your DAGs, and set the five names below. The task is deferrable:
while the job runs, it takes no worker, only the triggerer. A repeated try sends nothing twice, so
it may be retried. Airflow needs apache-airflow-providers-google and
apache-airflow-providers-apache-beam.
"""

from __future__ import annotations

import datetime

from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import DAG

PROJECT = "my-project"
REGION = "europe-west1"
BUCKET = "gs://my-bucket"
TEMPLATE = f"{BUCKET}/templates/mixpanel-sink-0.1.0.json"
WORKER = f"mixpanel-import@{PROJECT}.iam.gserviceaccount.com"

LAUNCH = {
    "launchParameter": {
        "jobName": "mixpanel-import",
        "containerSpecGcsPath": TEMPLATE,
        "parameters": {
            "input": f"{BUCKET}/events/*.parquet",
            "mapping": f"{BUCKET}/mixpanel/mapping.yaml",
            "api_secret": f"gcpsecret:projects/{PROJECT}/secrets/mixpanel-api-secret",
            "mixpanel_region": "eu",
            # The checkpoint knows which files have been imported; only new ones are read.
            "checkpoint": f"{BUCKET}/mixpanel/checkpoint",
            "leave_unfinished": "true",
            "failed_output": f"{BUCKET}/mixpanel/failed/{{{{ ds_nodash }}}}",
            # Each event carries the DAG run's id, so that a bad run can be deleted.
            "run_property": "import_run",
            "run_id": "{{ run_id }}",
        },
        "environment": {
            "serviceAccountEmail": WORKER,
            "tempLocation": f"{BUCKET}/temp",
            "stagingLocation": f"{BUCKET}/staging",
            "maxWorkers": 1,
        },
    }
}

with DAG(
    dag_id="mixpanel_import",
    schedule="15 2 * * *",
    start_date=datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc),
    catchup=False,
    max_active_runs=1,  # one job at a time shares the project's quota with nobody
    default_args={"retries": 2, "retry_delay": datetime.timedelta(minutes=10)},
    tags=["mixpanel"],
) as dag:
    DataflowStartFlexTemplateOperator(
        task_id="import_events",
        project_id=PROJECT,
        location=REGION,
        body=LAUNCH,
        deferrable=True,
        poll_sleep=60,
    )
