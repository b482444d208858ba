. "$(dirname "$0")/../lib.sh"
images "$WORK/images"
check "import" images_import "$WORK/images"
cid=$(cat "$WORK/out")
cat >"$WORK/job.yaml" <<END
name: quarters
model: {architecture: cnn, stages: 2, filters: 4, hidden_size: 16}
data: {cid: $cid}
recipe: {micro_batch: 20, micro_batches: 4, steps: 40, lr: 0.01}
END
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
trained=$(json '.accuracy * 200 | round')
check "classify images" "$EMAC" classify "$model" "$WORK/images/test-images" --labels "$WORK/images/test-labels" --json
same "as many right as the job said" "$trained" "$(json '.accuracy * 200 | round')"
same "a class for each" 200 "$(json '.classes | length')"
first=$(json '.classes | join(" ")')
check "export" "$EMAC" model export "$model" "$WORK/m"
gzip -nk "$WORK/images/test-images"
check "from a directory, of a gzip, by other kernels" "$EMAC" classify "$WORK/m" "$WORK/images/test-images.gz" --isa portable --threads 1 --json
same "the same classes" "$first" "$(json '.classes | join(" ")')"
same "no labels, no accuracy" null "$(json .accuracy)"
expect "one line a record" 0 '^199 ' "$EMAC" classify "$WORK/m" "$WORK/images/test-images"
expect "labels of others" 2 'holds no 200 labels' "$EMAC" classify "$WORK/m" "$WORK/images/test-images" --labels "$WORK/images/train-labels"
expect "labels are no images" 2 '16 x 16 x 1 u8' "$EMAC" classify "$WORK/m" "$WORK/images/test-labels"
awk 'BEGIN { print "n,x,y,side"; for (i = 0; i < 300; i++) printf "%d,%d,%d,%s\n", i, i * 37 % 100, i * 53 % 90, (i * 37 % 100 > i * 53 % 90 ? "below" : "above") }' >"$WORK/table.csv"
check "import a table" "$EMAC" data import --csv "$WORK/table.csv" --skip n --test-share 0.2
cat >"$WORK/table.yaml" <<END
name: sides
model: {architecture: mlp, layers: 1, hidden_size: 16}
data: {cid: $(cat "$WORK/out")}
recipe: {micro_batch: 10, micro_batches: 4, steps: 80, lr: 0.02}
END
check "train on it" "$EMAC" train "$WORK/table.yaml" --local --json
same "it has learnt" true "$(json '.accuracy > 0.9')"
check "classify rows" "$EMAC" classify "$(json .model)" "$WORK/table.csv" --json
same "names of the classes" 'above below' "$(json '.names | join(" ")')"
same "a class for each row" 300 "$(json '.classes | length')"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/text.yaml"
check "train a language model" "$EMAC" train "$WORK/text.yaml" --local --json
expect "which is no classifier" 2 "model_type is 'llama'" "$EMAC" classify "$(json .model)" "$WORK/table.csv"
expect "and a classifier generates no text" '2|12' "emac_classifier|model_type" "$EMAC" generate "$WORK/m" -p x
expect "no model" 5 'neither a model' "$EMAC" classify "$WORK/nothing" "$WORK/table.csv"
expect "help" 0 'EMAC CLASSIFY' "$EMAC" classify --help
finish
