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
    fi
    down
done
finish
