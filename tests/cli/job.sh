. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "the same job locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
checkpoints=$(json '[.checkpoints[].model] | join(" ")')
up "$WORK/net" 2
expect "an empty wallet" 4 'holds 0' "$EMAC" job submit "$WORK/job.yaml"
check "faucet" "$EMAC" wallet faucet
check "submit and wait" "$EMAC" job submit "$WORK/job.yaml" --wait --json
id=$(json .id)
same "succeeded" succeeded "$(json .state)"
same "the same model as --local" "$model" "$(json .model)"
same "the same checkpoints" "$checkpoints" "$(json '[.checkpoints[].model] | join(" ")')"
check "list" "$EMAC" job list --json
same "it is listed" "$id" "$(json '.jobs[0].id')"
check "show" "$EMAC" job show "$id" --json
check "logs" "$EMAC" job logs "$id"
check "the model comes out" "$EMAC" model export "$model" "$WORK/m" --home "$WORK/other"
expect "cancel after the end" 6 "$id" "$EMAC" job cancel "$id"
sed 's/steps:.*/steps: 100000/; /^budget:/d' "$WORK/job.yaml" >"$WORK/long.yaml"
check "submit a long one" "$EMAC" job submit "$WORK/long.yaml" --json
long=$(json .id)
expect "cancel by a stranger" 3 'belongs to' "$EMAC" job cancel "$long" --home "$WORK/stranger"
check "cancel" "$EMAC" job cancel "$long"
check "show" "$EMAC" job show "$long" --json
same "cancelled" cancelled "$(json .state)"
same "its escrow is empty" 0 "$(json .escrow_units)"
check "audit" "$EMAC" ledger audit
expect "unknown job" 5 'job-nothing' "$EMAC" job show job-nothing
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" job eat
expect "help" 0 'EMAC JOB' "$EMAC" job --help
finish
