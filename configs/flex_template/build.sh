#!/bin/sh
# Builds the Flex Templates' image and their template files. docs/dataflow.md has all else.
#
#   configs/flex_template/build.sh PROJECT REGION REPOSITORY gs://BUCKET/FOLDER
#
# REPOSITORY is a Docker repository of Artifact Registry in REGION:
#
#   gcloud artifacts repositories create REPOSITORY \
#       --project=PROJECT --location=REGION --repository-format=docker
set -eu

if [ $# -ne 4 ]; then
    echo "Usage: $0 PROJECT REGION REPOSITORY gs://BUCKET/FOLDER" >&2
    exit 2
fi
project=$1 region=$2 repository=$3 folder=${4%/}
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' mixpanel_sink/version.py)
image="$region-docker.pkg.dev/$project/$repository/mixpanel-sink:$version"

gcloud builds submit . \
    --project="$project" \
    --config=configs/flex_template/cloudbuild.yaml \
    --substitutions="_IMAGE=$image"

# One image, and a template file for each job: metadata is the import.
for job in metadata profiles replay stream verify; do
    case $job in
    metadata) template="$folder/mixpanel-sink-$version.json" ;;
    *) template="$folder/mixpanel-sink-$job-$version.json" ;;
    esac
    gcloud dataflow flex-template build "$template" \
        --project="$project" \
        --image="$image" \
        --sdk-language=PYTHON \
        --metadata-file="configs/flex_template/$job.json"
    echo "Template: $template"
done
