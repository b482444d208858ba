# Pipelines: a model cut into stages ends in the model of --local on the whole, on 1, 2, 3 and 5 rigs,
# with a rig killed in mid-run, and with two replicas; rounded activations are a recipe of their own.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
whole=$WORK/whole.yaml
sed "s|file: .*|file: $WORK/text|; s/layers: 2/layers: 3/" "$ROOT/examples/tiny.yaml" >"$whole"
# pipe FILE SPREAD...: the same job in stages.
pipe() {
    file=$1
    shift
    { cat "$whole"; echo "spread: {kind: pipeline, $*}"; } >"$WORK/$file"
}
models='[.checkpoints[].model] | join(" ")'
check "the whole" "$EMAC" train "$whole" --local --json
model=$(json .model)
checkpoints=$(json "$models")
for stages in 2 3; do
    pipe s$stages.yaml "stages: $stages"
    check "$stages stages, locally" "$EMAC" train "$WORK/s$stages.yaml" --local --json
    same "$stages stages, locally: checkpoints" "$checkpoints" "$(json "$models")"
done
pipe shares.yaml "stages: 3, shares: [5, 1, 2]"
check "stages of other shares, locally" "$EMAC" train "$WORK/shares.yaml" --local --json
same "stages of other shares, locally: checkpoints" "$checkpoints" "$(json "$models")"
pipe bf16.yaml "stages: 3, activations: bf16"
check "bf16 between stages" "$EMAC" train "$WORK/bf16.yaml" --local --json
rounded=$(json .model)
check "bf16 between stages: another model" test "$rounded" != "$model"
for n in 1 2 3 5; do
    up "$WORK/net$n" "$n"
    "$EMAC" wallet faucet >/dev/null 2>&1
    job=s3
    [ "$n" = 2 ] && job=s2
    check "$n rigs" timeout 120 "$EMAC" job submit "$WORK/$job.yaml" --wait --json
    same "$n rigs: checkpoints" "$checkpoints" "$(json "$models")"
    check "$n rigs: audit" "$EMAC" ledger audit
    if [ "$n" = 3 ]; then
        check "3 rigs, bf16" timeout 120 "$EMAC" job submit "$WORK/bf16.yaml" --wait --json
        same "3 rigs, bf16: model" "$rounded" "$(json .model)"
        check "3 rigs, shares" timeout 120 "$EMAC" job submit "$WORK/shares.yaml" --wait --json
        same "3 rigs, shares: checkpoints" "$checkpoints" "$(json "$models")"
        pipe auto.yaml "stages: 2, shares: auto"
        check "3 rigs, shares by the rigs" timeout 120 "$EMAC" job submit "$WORK/auto.yaml" --wait --json
        same "3 rigs, shares by the rigs: checkpoints" "$checkpoints" "$(json "$models")"
    fi
    down
done

# A rig is killed and another joins: its stages are lost with it, so the job goes back to a
# checkpoint; with two replicas of each stage it need not. One rig computes on OpenCL if it can.
sed 's/^  steps: .*/  steps: 40/; s/^budget: .*/budget: "20"/' "$whole" >"$WORK/long.yaml"
check "the whole, longer" "$EMAC" train "$WORK/long.yaml" --local --json
model=$(json .model)
devices=cpu
if has_opencl; then
    devices=cpu,opencl:0,cpu
fi
for replicas in 1 2; do
    { cat "$WORK/long.yaml"; echo "spread: {kind: pipeline, stages: 3, replicas: $replicas}"; } >"$WORK/k.yaml"
    up "$WORK/kill$replicas" 3 --no-restart --devices $devices
    "$EMAC" wallet faucet >/dev/null 2>&1
    "$EMAC" job submit "$WORK/k.yaml" --json >"$WORK/submit"
    id=$(tail -n 1 "$WORK/submit" | jq -r .id)
    until_step 8
    kill -9 "$(cat "$WORK/kill$replicas/node-1/pid")"
    bg "$EMAC" node --dir "$WORK/new$replicas" --name new >/dev/null 2>"$WORK/new$replicas.log"
    check "$replicas replicas, a rig killed: the job ends" timeout 240 "$EMAC" job show "$id" --wait --json
    same "$replicas replicas, a rig killed: model" "$model" "$(json .model)"
    check "$replicas replicas, a rig killed: audit" "$EMAC" ledger audit
    kill "$BG"
    down
done
finish
