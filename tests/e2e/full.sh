# Full disks: no file of the coordinator, then of a rig, can grow while a job runs. Requests that would write
# are refused whole, with a sentence; with room again everything goes on, to the same model.
# Room is RLIMIT_FSIZE, which prlimit changes from outside: no mount, no privilege.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 60/; s/checkpoint_every: .*/checkpoint_every: 10/; s/^budget: .*/budget: \"20\"/" \
    "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 2 --no-restart
check "money" "$EMAC" wallet faucet
room() { prlimit --pid "$(cat "$WORK/net/$1/pid")" --fsize="$2:"; }
check "a job" "$EMAC" job submit "$WORK/job.yaml" --json
id=$(json .id)
until_step 5
room coordinator 0
expect "who wants to write is told why not" '11|15' 'disk|space|too large' "$EMAC" job submit "$WORK/job.yaml"
check "who reads is served" "$EMAC" job show "$id" --json
same "the job is not over" running "$(json .state)"
room coordinator unlimited
check "with room again the job ends" timeout 240 "$EMAC" job show "$id" --wait --json
same "with the same model" "$model" "$(json .model)"
check "the ledger holds" "$EMAC" ledger audit

check "another" "$EMAC" job submit "$WORK/job.yaml" --json
id=$(json .id)
until_step 5
room node-1 0
check "with a rig whose disk is full" timeout 240 "$EMAC" job show "$id" --wait --json
same "the model is the same" "$model" "$(json .model)"
room node-2 0
check "all of them" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
same "still the same" "$model" "$(json .model)"
check "the ledger at the end" "$EMAC" ledger audit
for rig in coordinator node-1 node-2; do
    kill -0 "$(cat "$WORK/net/$rig/pid")" && pass "$rig lives" || fail "$rig is gone"
done
finish
