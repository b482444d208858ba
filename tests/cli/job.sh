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
check "who did what" "$EMAC" job show "$id" --json
same "shares of the rigs" true "$(json '.shares | .span_ms > 0 and ([.rigs[] | select(.tasks > 0 and .busy >= 0 and .busy <= 1)] | length) >= 1')"
check "a plan on the rigs that are there" "$EMAC" job plan "$WORK/job.yaml" --json
same "its rounds and tasks" "12 true" "$(json '"\(.rounds) \(.tasks.step >= 12 and .bytes > 0 and .seconds > 0)"')"
check "a plan by hand" "$EMAC" job plan "$WORK/job.yaml" --rigs 3 --speed 100,50 --link 10M,50M,60ms:none --json
same "it has three rigs" 3 "$(json '.rigs | length')"
expect "a plan in words" 0 'price' "$EMAC" job plan "$WORK/job.yaml" --rigs 1 --speed 100
expect "a plan without speeds" 2 'needs --speed' "$EMAC" job plan "$WORK/job.yaml" --rigs 3
expect "a plan with a bad speed" 2 'is not a list' "$EMAC" job plan "$WORK/job.yaml" --rigs 3 --speed fast
{ cat "$WORK/job.yaml"; echo 'spread: {kind: pipeline, stages: 2, shares: auto}'; echo 'policy: {check: 0}'; } >"$WORK/auto.yaml"
expect "shares by the rigs" 0 'spread.shares \[100, [0-9]+\]' "$EMAC" job plan "$WORK/auto.yaml" --rigs 2 --speed 0.02,0.005
expect "rigs without the memory" 2 'no cut into 2 stages was found that the 2 rigs have the memory for' \
    "$EMAC" job plan "$WORK/auto.yaml" --rigs 2 --speed 4,1 --memory 4K
expect "memory that is none" 2 "'--memory much' is not an amount" "$EMAC" job plan "$WORK/auto.yaml" --rigs 2 --speed 1 --memory much
expect "shares are numbers where nothing fills them in" 2 "'auto' is filled in by 'emac job submit'" "$EMAC" train "$WORK/auto.yaml" --local
expect "a plan with a bad link" 2 'is no link' "$EMAC" job plan "$WORK/job.yaml" --rigs 3 --speed 1 --link 10M
check "list" "$EMAC" job list --json
same "it is listed" "$id" "$(json '.jobs[0].id')"
check "show" "$EMAC" job show "$id" --json
check "logs" "$EMAC" job logs "$id"
check "watch a job that has ended" env LC_ALL=C "$EMAC" job watch "$id"
cp "$WORK/out" "$WORK/shown"
check "its curve is there, and no escape codes" is_plain_curve "$WORK/shown"
check "watch as JSON" "$EMAC" job watch "$id" --json
same "lines of updates, then the job" "12 succeeded" "$(head -n 1 "$WORK/out" | jq '[.metrics[] | select(.name == "loss")] | length') $(json .state)"
check "watch for TensorBoard" "$EMAC" job watch "$id" --tensorboard "$WORK/runs" --quiet
first=$(cksum "$WORK/runs/$id"/events.out.tfevents.*)
check "and again" "$EMAC" job watch "$id" --tensorboard "$WORK/runs" --quiet
same "gives the same file" "$first" "$(cksum "$WORK/runs/$id"/events.out.tfevents.*)"
check "watch on a terminal of 60 columns" env TERM=xterm LC_ALL=C NO_COLOR=1 script -qec "stty rows 20 cols 60; '$EMAC' job watch '$id'" "$WORK/screen"
check "one picture on the alternate screen, then gone" sh -c "grep -q '\[?1049h' '$WORK/screen' && grep -q '\[?1049l' '$WORK/screen'"
check "the model comes out" "$EMAC" model export "$model" "$WORK/m" --home "$WORK/other"
expect "cancel after the end" 6 "$id" "$EMAC" job cancel "$id"
sed 's/steps:.*/steps: 100000/; /^budget:/d' "$WORK/job.yaml" >"$WORK/long.yaml"
check "submit a long one" "$EMAC" job submit "$WORK/long.yaml" --json
long=$(json .id)
bg "$EMAC" job watch "$long" --json >"$WORK/watched" 2>"$WORK/watched.err"
watcher=$BG
for _ in $(seq 1 300); do [ "$(wc -l <"$WORK/watched")" -ge 3 ] && break; sleep 0.1; done
expect "cancel by a stranger" 3 'belongs to' "$EMAC" job cancel "$long" --home "$WORK/stranger"
check "cancel" "$EMAC" job cancel "$long"
check "show" "$EMAC" job show "$long" --json
same "cancelled" cancelled "$(json .state)"
same "its escrow is empty" 0 "$(json .escrow_units)"
wait "$watcher"
same "the watcher ends with it, as the job did" 130 $?
expect "who waits for a cancelled job ends as it did, too" 130 'the job was cancelled' "$EMAC" job show "$long" --wait --json
same "and sees the job" cancelled "$(json .state)"
sed '$a spread: {kind: local, replicas: 2, inner_steps: 2, max_norm: 0.0001}' "$WORK/job.yaml" >"$WORK/diverges.yaml"
expect "a job that fails: submit --wait" 1 'the job failed: training diverged' "$EMAC" job submit "$WORK/diverges.yaml" --wait --json
failed=$(json .id)
expect "a job that failed: show --wait" 1 'the job failed: training diverged' "$EMAC" job show "$failed" --wait
expect "a job that failed: watch" 1 'the job failed: training diverged' "$EMAC" job watch "$failed"
check "a job that failed: show just answers" "$EMAC" job show "$failed" --json
same "that it failed" failed "$(json .state)"
check "steps only rise" sh -c "jq -s -e '[.[] | select(.metrics) | .step] | . == sort' '$WORK/watched'"
check "and each is told once" sh -c "jq -s -e '[.[] | .metrics? // [] | .[] | select(.name == \"loss\") | .step] | length == (unique | length)' '$WORK/watched'"
check "audit" "$EMAC" ledger audit
expect "watch an unknown job" 5 'job-nothing' "$EMAC" job watch job-nothing
expect "unknown job" 5 'job-nothing' "$EMAC" job show job-nothing
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" job eat
expect "help" 0 'EMAC JOB' "$EMAC" job --help
down
sed "s/micro_batch: 2$/micro_batch: 1024/" "$WORK/job.yaml" >"$WORK/large.yaml"
sed 's/^  steps: .*/  steps: 48/; s/checkpoint_every: .*/checkpoint_every: 48/; $a policy: {deadline: 0.02, check: 0}' \
    "$WORK/job.yaml" >"$WORK/late.yaml"
up "$WORK/small" 2 --device-memory 64M --link 200k,200k,60ms
"$EMAC" wallet faucet >/dev/null 2>&1
until_admitted 2
same "rigs tell their links" 200000 "$(curl -s "$EMAC_URL/v1/status" | jq '.nodes[1].link.up_bps')"
late='would take [0-9]+ s on the 2 rigs that are there, and policy.deadline 0.02 h is 72 s: links bound it .*; with spread'
expect "too late: the figures, what bounds it, and the recipe that is in time" 2 "$late" "$EMAC" job submit "$WORK/late.yaml"
expect "the plan knows it, too" 2 "$late" "$EMAC" job plan "$WORK/late.yaml"
sed -n 's/.*with \(spread\) \({.*}\) it would.*/\1: \2/p' "$WORK/err" >>"$WORK/late.yaml"
check "what is offered is in time" "$EMAC" job plan "$WORK/late.yaml"
expect "no rig has the memory: the figures and the recipe that fits" 2 \
    "needs [0-9]+ MiB, the largest rig may use 64 MiB for one; with recipe.micro_batch [0-9]+ and" \
    "$EMAC" job submit "$WORK/large.yaml"
check "nothing went into escrow" "$EMAC" wallet show --json
same "nothing" 1000000000000 "$(json .units)"
expect "the plan says the same" 2 "with recipe.micro_batch" "$EMAC" job plan "$WORK/large.yaml"
sed -i "s/micro_batch: 1024$/micro_batch: $(sed -n 's/.*recipe.micro_batch \([0-9]*\) and.*/\1/p' "$WORK/err")/" "$WORK/large.yaml"
check "what is offered does fit" "$EMAC" job plan "$WORK/large.yaml"
down
finish
