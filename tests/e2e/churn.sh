# Rigs leave without a word and others join while a job runs: the same model in the end.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 80/; s/^budget: .*/budget: \"20\"/" \
    "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 2 --no-restart
"$EMAC" wallet faucet >/dev/null 2>&1
"$EMAC" job submit "$WORK/job.yaml" --json >"$WORK/submit"
id=$(tail -n 1 "$WORK/submit" | jq -r .id)
until_step 10
bg "$EMAC" node --dir "$WORK/n3" --name third >/dev/null 2>"$WORK/n3.log"
until_step 20
kill -9 "$(cat "$WORK/net/node-1/pid")"
until_step 35
bg "$EMAC" node --dir "$WORK/n4" --name fourth --unreachable >/dev/null 2>"$WORK/n4.log"
until_step 45
kill -9 "$(cat "$WORK/net/node-2/pid")"
check "the job ends" timeout 240 "$EMAC" job show "$id" --wait --json
same "with the same model" "$model" "$(json .model)"
check "audit" "$EMAC" ledger audit
finish
