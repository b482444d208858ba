# Hybrid: replicas of a model in stages, local SGD between them. One model for --local, for any number
# of rigs, on CPU and OpenCL, when rigs leave without a word and others join; and it is the model that
# local SGD makes of the whole with the same replicas and inner steps.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
# job NAME STEPS SPREAD
job() {
    sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: $2/; s/checkpoint_every: .*/checkpoint_every: 4/
        s/^  layers: .*/  layers: 3/; s/^  micro_batches: .*/  micro_batches: 4/; s/^budget: .*/budget: \"20\"/" "$ROOT/examples/tiny.yaml" >"$WORK/$1.yaml"
    echo "policy: {check: 0.1}
spread: {$3, replicas: 2, inner_steps: 2}" >>"$WORK/$1.yaml"
}
job whole 7 "kind: local, delta: int8"
job stages 7 "kind: hybrid, stages: 3, delta: int8"
job packed 7 "kind: hybrid, stages: 2, delta: topk, activations: int8"
check "local SGD of the whole model" "$EMAC" train "$WORK/whole.yaml" --local --json
whole=$(json .model)
for form in stages packed; do
    check "$form: locally" "$EMAC" train "$WORK/$form.yaml" --local --json
    model=$(json .model)
    [ "$form" = packed ] || same "the model of local SGD" "$whole" "$model"
    for rigs in 1 2 3 5; do
        [ "$form" = packed ] && [ $rigs != 3 ] && continue
        up "$WORK/net-$form-$rigs" $rigs
        "$EMAC" wallet faucet >/dev/null 2>&1
        check "$form: $rigs rigs" timeout 240 "$EMAC" job submit "$WORK/$form.yaml" --wait --json
        same "$form: $rigs rigs, model" "$model" "$(json .model)"
        check "$form: $rigs rigs, audit" "$EMAC" ledger audit
        down
    done
done
if has_opencl; then
    up "$WORK/net-mixed" 2 --devices cpu,opencl:0
    "$EMAC" wallet faucet >/dev/null 2>&1
    check "CPU and OpenCL" timeout 300 "$EMAC" job submit "$WORK/stages.yaml" --wait --json
    same "CPU and OpenCL, model" "$whole" "$(json .model)"
    down
else
    echo "# opencl: not tested, this machine has no such device"
fi
# Rigs come and go.
job churn 24 "kind: hybrid, stages: 2, delta: int4"
check "churn: locally" "$EMAC" train "$WORK/churn.yaml" --local --json
model=$(json .model)
up "$WORK/net" 3 --no-restart
"$EMAC" wallet faucet >/dev/null 2>&1
"$EMAC" job submit "$WORK/churn.yaml" --json >"$WORK/submit"
id=$(tail -n 1 "$WORK/submit" | jq -r .id)
until_step 6
bg "$EMAC" node --dir "$WORK/n4" --name fourth >/dev/null 2>"$WORK/n4.log"
kill -9 "$(cat "$WORK/net/node-1/pid")"
check "churn: the job ends" timeout 240 "$EMAC" job show "$id" --wait --json
same "churn: with the same model" "$model" "$(json .model)"
check "churn: audit" "$EMAC" ledger audit
# What cannot be is told with what can.
sed 's/checkpoint_every: .*/checkpoint_every: 3/' "$WORK/stages.yaml" >"$WORK/bad.yaml"
expect "checkpoints between inner steps" 2 'must be a multiple of spread.inner_steps 2.*take 2' "$EMAC" job plan "$WORK/bad.yaml" --rigs 1 --speed 1
sed 's/replicas: 2/replicas: 8/; s/micro_batches: 4/micro_batches: 8/' "$WORK/stages.yaml" >"$WORK/bad.yaml"
expect "too many replicas" 2 'take 5 replicas, or 2 stages' "$EMAC" job plan "$WORK/bad.yaml" --rigs 1 --speed 1
check "a plan" "$EMAC" job plan "$WORK/stages.yaml" --rigs 4 --speed 10 --link 10M,50M,60ms --json
same "its deltas and outer steps" true "$(json '.tasks.delta >= 24 and .tasks.outer >= 12')"
finish
