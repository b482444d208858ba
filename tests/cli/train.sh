. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
checkpoints=$(json '[.checkpoints[].model] | join(" ")')
for isa in portable avx2 avx512; do
    if ! "$EMAC" doctor --json 2>/dev/null | tail -n 1 | jq -e --arg i $isa '.rows[] | select(.check == "instructions") | .found | contains($i)' >/dev/null; then
        echo "# this CPU has no $isa"
        continue
    fi
    check "train by $isa with 2 threads" "$EMAC" train "$WORK/job.yaml" --local --json --isa $isa --threads 2 --restart --home "$WORK/home-$isa"
    same "$isa: the same model" "$model" "$(json .model)"
    same "$isa: the same checkpoints" "$checkpoints" "$(json '[.checkpoints[].model] | join(" ")')"
done
expect "without --local" 2 'emac job submit' "$EMAC" train "$WORK/job.yaml"
expect "no file" 5 'nothing.yaml' "$EMAC" train "$WORK/nothing.yaml" --local
sed 's/^seed:.*/seed: 1\nsalt: 2/' "$WORK/job.yaml" >"$WORK/bad.yaml"
expect "unknown field is named" 2 "salt" "$EMAC" train "$WORK/bad.yaml" --local
sed 's/hidden_size:.*/hidden_size: 99999999999/' "$WORK/job.yaml" >"$WORK/bad.yaml"
expect "absurd size is named" 2 "hidden_size" "$EMAC" train "$WORK/bad.yaml" --local
printf 'a: [1\n' >"$WORK/bad.yaml"
expect "malformed file: the line" 2 "line" "$EMAC" train "$WORK/bad.yaml" --local
expect "help" 0 'EMAC TRAIN' "$EMAC" train --help
finish
