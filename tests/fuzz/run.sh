#!/bin/sh
# run.sh PROGRAM CORPUS ARTIFACTS: one short, repeatable fuzzing run from the committed seeds. New
# inputs go to a scratch folder; an input that crashes is kept in ARTIFACTS.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
"$1" -runs=20000 -max_total_time=10 -seed=1 -rss_limit_mb=2048 -timeout=10 \
    -artifact_prefix="$3/" "$scratch" "$2"
