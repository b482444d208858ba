# Stages of a model that is mostly frozen: a new head, or adapters, with the base's weights shared among rigs. One
# model whatever the spread: that of the unsplit run, of local SGD for replicas in stages; for rigs on CPU and OpenCL, and when one
# is lost and another joins. Stages before the first that is trained only go forward.
# LONG=1 (make soak): 1, 2, 3 and 5 rigs, and a rig killed at each kind.
. "$(dirname "$0")/../lib.sh"
LONG=${LONG:-}
small_text "$WORK/text" 3000
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d times %d is %d.\n", i % 9, i % 7, (i % 9) * (i % 7) }' >"$WORK/other"
sed "s|file: .*|file: $WORK/text|; s/layers: 2/layers: 4/" "$ROOT/examples/tiny.yaml" >"$WORK/base.yaml"
check "the base is trained" "$EMAC" train "$WORK/base.yaml" --local --json
BASE=$(json .model)
# job FILE TUNE SPREAD [STEPS]
job() {
    cat >"$WORK/$1.yaml" <<YAML
name: $1
base: {cid: $BASE, $2}
data: {file: $WORK/other, heldout: 0.1}
recipe: {seq_len: 48, micro_batch: 2, micro_batches: 4, steps: ${4:-6}, lr: 0.01, checkpoint_every: 2, eval_batches: 4}
spread: {$3}
budget: "5"
YAML
}
lora='train: lora, rank: 4, targets: [q_proj, v_proj, down_proj]'
apart='replicas: 2, inner_steps: 2, delta: int8'
models='[.loss_bits_per_byte, (.checkpoints[] | .model)] | join(" ")'
# The unsplit run, then the stages of it.
for kind in head lora; do
    tune=$lora
    [ $kind = head ] && tune='train: head, layers: 1'
    job $kind "$tune" "kind: sync"
    job $kind-apart "$tune" "kind: local, $apart"
    job $kind-stages "$tune" "kind: pipeline, stages: 3"
    job $kind-hybrid "$tune" "kind: hybrid, stages: 3, $apart"
    check "$kind: the whole" "$EMAC" train "$WORK/$kind.yaml" --local --json
    eval "want_${kind}_stages=\$(json \"\$models\")"
    check "$kind: replicas of the whole" "$EMAC" train "$WORK/$kind-apart.yaml" --local --json
    eval "want_${kind}_hybrid=\$(json \"\$models\")"
    for spread in stages hybrid; do
        check "$kind, $spread: locally" "$EMAC" train "$WORK/$kind-$spread.yaml" --local --json
        eval "same \"$kind, $spread: the model of the whole\" \"\$want_${kind}_$spread\" \"\$(json \"\$models\")\""
    done
done
check "a plan of the head" "$EMAC" job plan "$WORK/head-stages.yaml" --rigs 3 --speed 10 --json
same "goes back through one stage of three" true "$(json '.tasks.bwd >= 24 and .tasks.bwd * 3 < .tasks.fwd * 2')"
same "and makes a step of that" 6 "$(json .tasks.update)"

rigs='3'
[ -z "$LONG" ] || rigs='1 2 3 5'
for n in $rigs; do
    devices=cpu,cpu/portable,cpu
    ! has_opencl || devices=cpu,opencl:0,cpu
    [ "$n" -ge 3 ] || devices=cpu
    up "$WORK/net$n" "$n" --devices $devices
    "$EMAC" wallet faucet >/dev/null 2>&1
    for kind in head lora; do
        for spread in stages hybrid; do
            check "$n rigs: $kind, $spread" timeout 240 "$EMAC" job submit "$WORK/$kind-$spread.yaml" --wait --json
            eval "same \"$n rigs: $kind, $spread: the same\" \"\$want_${kind}_$spread\" \"\$(json \"\$models\")\""
        done
    done
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done

# A rig is killed and another joins: what it kept of the base is gone with it.
losses='lora-stages'
[ -z "$LONG" ] || losses='head-stages lora-stages head-hybrid lora-hybrid'
for j in $losses; do
    sed 's/steps: 6/steps: 30/; s/name: .*/name: longer/' "$WORK/$j.yaml" >"$WORK/longer.yaml"
    check "$j, longer: locally" "$EMAC" train "$WORK/longer.yaml" --local --json
    model=$(json .model)
    up "$WORK/kill-$j" 3 --no-restart
    "$EMAC" wallet faucet >/dev/null 2>&1
    "$EMAC" job submit "$WORK/longer.yaml" --json >"$WORK/submit"
    id=$(tail -n 1 "$WORK/submit" | jq -r .id)
    until_step 6
    kill -9 "$(cat "$WORK/kill-$j/node-1/pid")"
    bg "$EMAC" node --dir "$WORK/new-$j" --name new >/dev/null 2>"$WORK/new-$j.log"
    check "$j, a rig killed: the job ends" timeout 240 "$EMAC" job show "$id" --wait --json
    same "$j, a rig killed: model" "$model" "$(json .model)"
    check "$j, a rig killed: audit" "$EMAC" ledger audit
    kill "$BG"
    down
done
finish
