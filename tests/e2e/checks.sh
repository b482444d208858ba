# Rounds of milliseconds, everything done twice: a rig that lies once in a while, one that stalls in the middle, the
# coordinator killed. No check lapses, the liar is found, the model is the honest one.
. "$(dirname "$0")/../lib.sh"
BUILD=${BUILD:-$ROOT/build}
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 200/; s/micro_batch: .*/micro_batch: 1/
    s/micro_batches: .*/micro_batches: 4/; s/seq_len: .*/seq_len: 16/; s/checkpoint_every: .*/checkpoint_every: 50/
    s/^budget: .*/budget: \"20\"\npolicy: {check: 1.0}/" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 3
until_admitted 3
"$EMAC" wallet faucet >/dev/null 2>&1
id=$("$EMAC" job submit "$WORK/job.yaml" --json 2>/dev/null | tail -n 1 | jq -r .id)
until_step 20
stalled=$(cat "$WORK/net/node-2/pid")
kill -STOP "$stalled"
bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/bad" --flip-share 0.1 --seed 5 \
    >"$WORK/bad.out" 2>"$WORK/bad.err"
bad=$BG
until_admitted 4
kill -9 "$(cat "$WORK/net/coordinator/pid")"
for _ in $(seq 1 300); do kill -0 "$bad" 2>/dev/null || break; sleep 0.1; done
kill -CONT "$stalled"
check "the job succeeds" timeout 300 "$EMAC" job show "$id" --wait --json
same "with the honest model" "$model" "$(json .model)"
same "no check lapsed" 0 "$(json .figures.lapsed)"
out=$(curl -s "$EMAC_URL/v1/status" | jq -r '.nodes[] | select(.state == "quarantined") | .did')
same "one rig is out" 1 "$(echo "$out" | grep -c did:key)"
same "the liar" "$out" "$(sed -n 's/^EMAC_NODE=//p' "$WORK/bad.out")"
check "audit" "$EMAC" ledger audit
finish
