# Training from a base, all of it, its last layers, or LoRA: one model from --local (threads, OpenCL) and
# from 1 and 3 rigs; adapters are generated from, served and merged; what does not fit is refused before
# money moves.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 3000
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d times %d is %d.\n", i % 9, i % 7, (i % 9) * (i % 7) }' >"$WORK/other"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/base.yaml"
check "the base is trained" "$EMAC" train "$WORK/base.yaml" --local --json
BASE=$(json .model)

job() { # name, the section base without the braces
    cat >"$WORK/$1.yaml" <<YAML
name: $1
base: {cid: ${3:-$BASE}, $2}
data: {file: $WORK/other, heldout: 0.1}
recipe: {seq_len: 48, micro_batch: 2, micro_batches: 4, steps: 6, lr: 0.01, checkpoint_every: 3, eval_batches: 4}
budget: "1"
YAML
}
job full 'train: full'
job head 'train: head, layers: 1'
job lora 'train: lora, rank: 4, targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]'
job apart 'train: lora'
echo 'spread: {kind: local, replicas: 2, inner_steps: 2}' >>"$WORK/apart.yaml"
result='[.model, .loss_bits_per_byte, (.checkpoints[] | .params, .opt, .model)] | join(" ")'
for kind in full head lora; do
    check "$kind: local, 1 thread" "$EMAC" train "$WORK/$kind.yaml" --local --json --threads 1
    eval "want_$kind=\$(json \"\$result\") model_$kind=\$(json .model)"
    echo "# $kind: held out $(json .loss_bits_per_byte) bits per byte"
    check "$kind: local, 2 threads" "$EMAC" train "$WORK/$kind.yaml" --local --json --threads 2 --restart
    eval "same \"$kind: 2 threads: the same\" \"\$want_$kind\" \"\$(json \"\$result\")\""
    has_opencl || continue
    check "$kind: local, OpenCL" "$EMAC" train "$WORK/$kind.yaml" --local --json --device opencl:0 --restart
    eval "same \"$kind: OpenCL: the same\" \"\$want_$kind\" \"\$(json \"\$result\")\""
done

check "an adapter by local SGD" "$EMAC" train "$WORK/apart.yaml" --local --json
model_apart=$(json .model)

# An adapter alone, and merged, say the same.
check "export the adapter" "$EMAC" model export "$model_lora" "$WORK/adapter"
check "it is PEFT's two files and the base" test -f "$WORK/adapter/adapter_model.safetensors" -a \
    -f "$WORK/adapter/adapter_config.json" -a -f "$WORK/adapter/base/model.safetensors"
for m in lora head; do
    eval "model=\$model_$m"
    check "$m: generate" "$EMAC" generate "$model" -p "3 times" -n 40 -t 0 --json
    said=$(json .text)
    check "$m: merge" "$EMAC" model merge "$model" -o "$WORK/merged-$m" --json
    merged=$(json .cid)
    check "$m: merge again, of base and what is on it" "$EMAC" model merge "$BASE" "$model" -o "$WORK/again" --json
    same "$m: the same CID" "$merged" "$(json .cid)"
    check "$m: generate with the merged model" "$EMAC" generate "$WORK/merged-$m" -p "3 times" -n 40 -t 0 --json
    same "$m: the same text" "$said" "$(json .text)"
done
said_lora=$("$EMAC" generate "$model_lora" -p "3 times" -n 20 -t 0 --json | tail -n 1 | jq -r .text)
check "import the adapter again" "$EMAC" model import "$WORK/adapter" --base "$BASE" --json
same "the same CID" "$model_lora" "$(json .cid)"

# What does not fit is refused, with the figures.
refused() { # name, pattern, job file
    expect "refused: $1" "2|3" "$2" "$EMAC" train "$WORK/$3.yaml" --local
}
job misfit 'train: full'
echo 'model: {hidden_size: 64}' >>"$WORK/misfit.yaml"
refused "another width" "base has hidden_size 32 and the job asks for 64" misfit
job misfit 'train: lora, rank: 33'
refused "a rank that is too large" "rank must be from 1 to" misfit
job misfit 'train: head, layers: 3'
refused "more layers than there are" "base.layers is 3 and the model has 2" misfit
job misfit 'train: lora' "$model_lora"
refused "an adapter as base" "an adapter with a base of its own: make a whole model" misfit
job misfit 'train: lora, targets: [c_attn]'
refused "an unknown target" "must list some of 'down_proj'" misfit
cp -r "$WORK/merged-lora" "$WORK/closed"
printf -- '---\nlicense: cc-by-nd-4.0\n---\n# A model\n' >"$WORK/closed/README.md"
check "import a model whose licence allows no derivatives" "$EMAC" model import "$WORK/closed" --json
CLOSED=$(json .cid)
job closed 'train: lora' "$CLOSED"
refused "such a base" "licence is 'cc-by-nd-4.0', which allows no derivatives" closed

# Classifiers: a base that knows two classes, a head for the two others.
images "$WORK/images"
check "import two classes" images_import "$WORK/images" --only 0,1
FIRST=$(cat "$WORK/out")
check "import the others, forty images each" images_import "$WORK/images" --only 3,2 --per-class 40
OTHERS=$(cat "$WORK/out")
same "of which there are" 80 "$("$EMAC" data show "$OTHERS" --json | tail -n 1 | jq -r .splits.train.records)"
cat >"$WORK/halves.yaml" <<YAML
name: halves
model: {architecture: cnn, stages: 2, filters: 4, hidden_size: 16}
data: {cid: $FIRST}
recipe: {micro_batch: 20, micro_batches: 2, steps: 30, lr: 0.01, checkpoint_every: 15}
YAML
check "the classifier's base is trained" "$EMAC" train "$WORK/halves.yaml" --local --json
HALVES=$(json .model)
classifier() { # name, the section base, data
    cat >"$WORK/$1.yaml" <<YAML
name: $1
base: {cid: $HALVES, $2}
data: {cid: $3}
recipe: {micro_batch: 10, micro_batches: 2, steps: 60, lr: 0.02, checkpoint_every: 30}
budget: "1"
YAML
}
classifier newhead 'train: head, layers: 2' "$OTHERS"
classifier dense 'train: lora, rank: 2' "$FIRST"
for kind in newhead dense; do
    check "$kind: local" "$EMAC" train "$WORK/$kind.yaml" --local --json --threads 1
    eval "model_$kind=\$(json .model)"
    same "$kind: it has learnt" true "$(json '.accuracy > 0.9')"
    eval "model=\$model_$kind"
    check "$kind: classify" "$EMAC" classify "$model" "$WORK/images/test-images" --json
    check "$kind: merge" "$EMAC" model merge "$model" -o "$WORK/merged-$kind" --json
    "$EMAC" classify "$model" "$WORK/images/test-images" --json 2>/dev/null | tail -n 1 >"$WORK/alone"
    check "$kind: classify with the merged model" "$EMAC" classify "$WORK/merged-$kind" "$WORK/images/test-images" --json
    same "$kind: the same classes" "$(cat "$WORK/alone")" "$(tail -n 1 "$WORK/out")"
done
classifier misfit 'train: full' "$OTHERS"
sed -i "s/cid: $OTHERS/cid: $(images_import "$WORK/images")/" "$WORK/misfit.yaml"
refused "other classes than the base's" "base has classes 2 and the job asks for 4.*or base.train 'head'" misfit

for n in 1 3; do
    devices=cpu # 3: of unlike instruction sets
    [ "$n" = 3 ] && devices=cpu,cpu/portable,cpu
    up "$WORK/net$n" "$n" --devices $devices
    "$EMAC" wallet faucet >/dev/null 2>&1
    for kind in full head lora apart newhead dense; do
        check "$n rigs: $kind" "$EMAC" job submit "$WORK/$kind.yaml" --wait --json
        eval "same \"$n rigs: $kind: the same\" \"\$model_$kind\" \"\$(json .model)\""
    done
    if [ "$n" = 1 ]; then
        check "a rig serves the adapter" curl -sf "$EMAC_URL/v1/completions" -H 'Content-Type: application/json' \
            -d "{\"model\": \"$model_lora\", \"prompt\": \"3 times\", \"max_tokens\": 20, \"temperature\": 0}"
        same "it says the same" "$said_lora" "3 times$(json '.choices[0].text')"
        before=$("$EMAC" wallet show --json 2>/dev/null | tail -n 1 | jq -r .units)
        expect "the coordinator refuses a base by its licence" 3 "allows no derivatives" \
            "$EMAC" job submit "$WORK/closed.yaml"
        same "before money moves" "$before" "$("$EMAC" wallet show --json 2>/dev/null | tail -n 1 | jq -r .units)"
    fi
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done
finish
