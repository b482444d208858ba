# Local SGD: one model for --local and for any number of rigs, on CPU and OpenCL, also when a rig
# that carries a replica's state leaves without a word and others join; and only deltas travel.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
# job NAME STEPS SPREAD
job() {
    sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: $2/; s/checkpoint_every: .*/checkpoint_every: 16/
        s/^budget: .*/budget: \"20\"/" "$ROOT/examples/tiny.yaml" >"$WORK/$1.yaml"
    echo "policy: {check: ${4:-0.1}}
spread: {kind: local, replicas: 4, inner_steps: 4, $3}" >>"$WORK/$1.yaml"
}
job topk 32 "delta: topk, density: 0.03125"
job dense 32 "delta: int4, resume: own, last: int8, common_steps: 16"
job stream 32 "delta: topk, density: 0.03125, resume: own, fragments: 2, overlap: 1"
forms="topk stream dense"
for form in $forms; do
    check "$form: locally" "$EMAC" train "$WORK/$form.yaml" --local --json
    json .model >"$WORK/$form.model"
    rounds=8 && [ $form = stream ] && rounds=16
    same "$form: 32 steps are $rounds rounds" $rounds "$(json '.checkpoints[-1].step')"
done
# Steps in common are the steps of synchronous training, over all micro-batches.
json '.checkpoints[0].params' >"$WORK/common"
sed 's/^spread:.*/spread: {kind: sync}/' "$WORK/dense.yaml" >"$WORK/sync.yaml"
check "synchronously" "$EMAC" train "$WORK/sync.yaml" --local --json
same "16 steps in common" "$(json '.checkpoints[0].params')" "$(cat "$WORK/common")"
for rigs in 1 2 3 5; do
    up "$WORK/net-$rigs" $rigs
    for form in $forms; do
        "$EMAC" wallet faucet >/dev/null 2>&1
        check "$form: $rigs rigs" timeout 240 "$EMAC" job submit "$WORK/$form.yaml" --wait --json
        same "$form: $rigs rigs, model" "$(cat "$WORK/$form.model")" "$(json .model)"
    done
    check "$rigs rigs, audit" "$EMAC" ledger audit
    down
done
model=$(cat "$WORK/dense.model")
if has_opencl; then
    check "on OpenCL" "$EMAC" train "$WORK/dense.yaml" --local --json --restart --device opencl:0
    same "on OpenCL, model" "$model" "$(json .model)"
    up "$WORK/net-mixed" 2 --devices cpu,opencl:0
    "$EMAC" wallet faucet >/dev/null 2>&1
    check "CPU and OpenCL" timeout 300 "$EMAC" job submit "$WORK/dense.yaml" --wait --json
    same "CPU and OpenCL, model" "$model" "$(json .model)"
    down
else
    echo "# opencl: not tested, this machine has no such device"
fi
# Rigs come and go, with two jobs on them at once.
job churn 160 "delta: int4"
job flow 160 "delta: int8, fragments: 2, overlap: 1"
for job in flow churn; do
    check "$job: locally" "$EMAC" train "$WORK/$job.yaml" --local --json
    json .model >"$WORK/$job.model"
done
up "$WORK/net" 2 --no-restart
for job in flow churn; do
    "$EMAC" wallet faucet >/dev/null 2>&1
    "$EMAC" job submit "$WORK/$job.yaml" --json >"$WORK/submit"
    tail -n 1 "$WORK/submit" | jq -r .id >"$WORK/$job.id"
done
id=$(cat "$WORK/churn.id")
until_step 6
bg "$EMAC" node --dir "$WORK/n3" --name third >/dev/null 2>"$WORK/n3.log"
until_step 12
kill -9 "$(cat "$WORK/net/node-1/pid")"
until_step 20
bg "$EMAC" node --dir "$WORK/n4" --name fourth >/dev/null 2>"$WORK/n4.log"
for job in churn flow; do
    check "$job: the job ends" timeout 240 "$EMAC" job show "$(cat "$WORK/$job.id")" --wait --json
    same "$job: with the same model" "$(cat "$WORK/$job.model")" "$(json .model)"
done
check "churn: audit" "$EMAC" ledger audit
finish
