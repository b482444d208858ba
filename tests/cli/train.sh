. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
checkpoints=$(json '[.checkpoints[].model] | join(" ")')
check "train with a curve" env LC_ALL=C "$EMAC" train "$WORK/job.yaml" --local --restart --watch --tensorboard "$WORK/runs"
cp "$WORK/out" "$WORK/shown"
check "its curve is there, and no escape codes" is_plain_curve "$WORK/shown"
check "an event file" sh -c "ls '$WORK'/runs/job-*/events.out.tfevents.*"
: >"$WORK/occupied"
expect "TensorBoard's folder cannot be made" '11|6' 'occupied' "$EMAC" train "$WORK/job.yaml" --local --restart --tensorboard "$WORK/occupied/x"
for isa in portable avx2 avx512; do
    if ! has_isa $isa; then
        echo "# this CPU has no $isa"
        continue
    fi
    check "train by $isa with 2 threads" "$EMAC" train "$WORK/job.yaml" --local --json --isa $isa --threads 2 --restart --home "$WORK/home-$isa"
    same "$isa: the same model" "$model" "$(json .model)"
    same "$isa: the same checkpoints" "$checkpoints" "$(json '[.checkpoints[].model] | join(" ")')"
done
sed 's/^model:/model:\n  storage: bf16/' "$WORK/job.yaml" >"$WORK/half.yaml"
check "weights and activations stored as bf16" "$EMAC" train "$WORK/half.yaml" --local --json --home "$WORK/half"
half=$(json .model)
check "with 2 threads on portable kernels" "$EMAC" train "$WORK/half.yaml" --local --json --isa portable --threads 2 --restart --home "$WORK/half"
same "the same model" "$half" "$(json .model)"
check "the model is exported" "$EMAC" model export "$half" "$WORK/half-model" --home "$WORK/half"
expect "as bfloat16" 0 'bfloat16' cat "$WORK/half-model/config.json"
check "and generates" "$EMAC" generate "$half" -p a --seed 1 -n 5 --home "$WORK/half"
sed 's/steps: 12/steps: 300/; s/checkpoint_every: 4/checkpoint_every: 50/' "$WORK/job.yaml" >"$WORK/longer.yaml"
check "a longer run" "$EMAC" train "$WORK/longer.yaml" --local --json --home "$WORK/whole"
whole=$(json .model)
"$EMAC" train "$WORK/longer.yaml" --local --json --home "$WORK/parts" >"$WORK/stopped" 2>&1 &
pid=$!
while kill -0 $pid 2>/dev/null && ! ls "$WORK"/parts/train/*.state >/dev/null 2>&1; do sleep 0.05; done
kill -INT $pid
kill -INT $pid # what runs programs (timeout, docker) passes one Ctrl-C on twice
wait $pid
same "Ctrl-C stops" 130 $?
expect "with a sentence" 0 'stopped after step [0-9]+ of 300; the same command goes on' cat "$WORK/stopped"
check "the same command goes on" "$EMAC" train "$WORK/longer.yaml" --local --json --home "$WORK/parts"
same "and ends in the same model" "$whole" "$(json .model)"
expect "an unknown device" 2 "unknown device 'gpu'.*opencl:N" "$EMAC" train "$WORK/job.yaml" --local --device gpu
expect "a device and an instruction set" 2 'not both' "$EMAC" train "$WORK/job.yaml" --local --device cpu --isa avx2
expect "not an amount" 2 "'--device-memory lots'" "$EMAC" train "$WORK/job.yaml" --local --device-memory lots
expect "an OpenCL device that is not there" '5|12' 'OpenCL' "$EMAC" train "$WORK/job.yaml" --local --device opencl:none-such
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
