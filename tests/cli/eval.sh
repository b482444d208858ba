# A model is measured on data without a network: the training's own score on its held-out part, one CID for
# the same question however it is asked, and what cannot be measured is refused with the figures.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/tiny.yaml"
check "train" "$EMAC" train "$WORK/tiny.yaml" --local --json
MODEL=$(json .model) score=$(json .loss_bits_per_byte)
like='--heldout 0.1 --seq-len 64 --micro-batch 2 --batches 4'
check "measured as the training measured" "$EMAC" eval "$MODEL" "$WORK/text" $like --local --json
same "the training's score" "$score" "$(json .loss_bits_per_byte)"
same "so many tokens" 512 "$(json .tokens)"
cid=$(json .evaluation)
check "its result, by its name" "$EMAC" eval "$cid" --json
same "its result names the model" "$MODEL" "$(json .model)"
same "and the score" "$score" "$(json .bits_per_byte)"
check "threads, other kernels" "$EMAC" eval "$MODEL" "$WORK/text" $like --local --json --threads 1 --isa portable
same "threads, other kernels: the CID" "$cid" "$(json .evaluation)"
check "export" "$EMAC" model export "$MODEL" "$WORK/m"
cat >"$WORK/eval.yaml" <<END
name: another-name
kind: evaluate
model: {cid: $MODEL}
data: {file: text, heldout: 0.1}
recipe: {micro_batch: 2, eval_batches: 4}
price: {per_tflop: "0.5"}
END
check "by a job file" "$EMAC" eval "$WORK/eval.yaml" --local --json
same "by a job file: the CID" "$cid" "$(json .evaluation)"
check "by somebody else, of a directory" env EMAC_HOME="$WORK/other" "$EMAC" eval "$WORK/m" "$WORK/text" $like --local --json
same "by somebody else: the CID" "$cid" "$(json .evaluation)"
size=$(wc -c <"$WORK/text")
check "all of the text" "$EMAC" eval "$MODEL" "$WORK/text" --micro-batch 1 --local --json
same "all windows" $(((size - 1) / 64 * 64)) "$(json .tokens)"
check "all but a rest" "$EMAC" eval "$MODEL" "$WORK/text" --local --json
[ "$(json .tokens)" -gt $((size * 99 / 100)) ] && pass "a small one" || fail "a small one" "$(json .tokens) of $size"
[ "$(json .evaluation)" != "$cid" ] && pass "another part, another CID" || fail "another part, another CID"
expect "words" 0 'bits per byte' "$EMAC" eval "$MODEL" "$WORK/text" --heldout 0.01 --seq-len 16 --local

# Adapters and heads, on their base.
for part in 'lora, rank: 2' 'head, layers: 1'; do
    kind=${part%%,*}
    cat >"$WORK/$kind.yaml" <<END
name: $kind
base: {cid: $MODEL, train: $part}
data: {file: text, heldout: 0.1}
recipe: {seq_len: 64, micro_batch: 2, micro_batches: 2, steps: 4, lr: 0.01, eval_batches: 4}
END
    check "$kind: train" "$EMAC" train "$WORK/$kind.yaml" --local --json
    score=$(json .loss_bits_per_byte) tuned=$(json .model)
    check "$kind: eval" "$EMAC" eval "$tuned" "$WORK/text" $like --local --json
    same "$kind: the training's score" "$score" "$(json .loss_bits_per_byte)"
done

# Classifiers.
images "$WORK/images"
check "import" images_import "$WORK/images"
data=$(cat "$WORK/out")
cat >"$WORK/job.yaml" <<END
name: quarters
model: {architecture: cnn, stages: 1, filters: 4, hidden_size: 8}
data: {cid: $data}
recipe: {micro_batch: 20, micro_batches: 2, steps: 10, lr: 0.01}
END
check "train a classifier" "$EMAC" train "$WORK/job.yaml" --local --json
clothes=$(json .model) right=$(json .accuracy)
check "measure it" "$EMAC" eval "$clothes" "$data" --micro-batch 20 --local --json
same "the training's accuracy" "$right" "$(json .accuracy)"
check "on what it was trained on" "$EMAC" eval "$clothes" "$data" --split train --local --json
same "all records" 800 "$(json .samples)"

# Bad input.
expect "no such file" 5 'nowhere' "$EMAC" eval "$MODEL" "$WORK/nowhere" --local
expect "a text is no model" 2 'not a model directory' "$EMAC" eval "$("$EMAC" data add "$WORK/text")" "$WORK/text" --local
expect "too long" 2 'at most 64 tokens and recipe.seq_len is 65: take 64' \
    "$EMAC" eval "$MODEL" "$WORK/text" --seq-len 65 --local
expect "too small" 2 'there are [0-9]+ windows to evaluate on, fewer than recipe.micro_batch 4000: lower it' \
    "$EMAC" eval "$MODEL" "$WORK/text" --micro-batch 4000 --local
expect "too many" 2 'micro-batches of 1, and an evaluation has at most 4096: take recipe.micro_batch [0-9]+, or recipe.eval_batches 4096' \
    "$EMAC" eval "$MODEL" "$WORK/text" --seq-len 1 --micro-batch 1 --local
expect "a classifier on a text" 2 'trains on a data set' "$EMAC" eval "$clothes" "$WORK/text" --local
expect "more than all" 2 'data.heldout must be from 1e-06 to 1' "$EMAC" eval "$MODEL" "$WORK/text" --heldout 2 --local
expect "the other way round" 2 'trains nothing: run it by .emac eval' "$EMAC" train "$WORK/eval.yaml" --local
sed -i 's/^recipe: {/&lr: 0.1, /' "$WORK/eval.yaml"
expect "nothing is trained" 2 "recipe.lr goes with kind 'train', not with 'evaluate': leave it out" \
    "$EMAC" eval "$WORK/eval.yaml" --local
expect "a model is no result" 2 'no result of an evaluation' "$EMAC" eval "$MODEL"
expect "a job that trains" 2 "trains: run it by 'emac train'" "$EMAC" eval "$WORK/tiny.yaml" --local
finish
