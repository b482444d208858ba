. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
check "generate from the CID" "$EMAC" generate "$model" -p "one and two" --seed 3 -n 40 --json
one=$(json .text)
check "export" "$EMAC" model export "$model" "$WORK/m"
check "generate from the directory" "$EMAC" generate "$WORK/m" -p "one and two" --seed 3 -n 40 --json --threads 2 --isa portable
same "same text on another instruction set" "$one" "$(json .text)"
if has_opencl; then
    check "generate on a device with memory of its own" "$EMAC" generate "$WORK/m" -p "one and two" --seed 3 -n 40 --json --device opencl:0
    same "same text there" "$one" "$(json .text)"
    check "quantise" "$EMAC" model quantise "$WORK/m" "$WORK/q" --format q8_0
    check "generate with 8 bits a weight" "$EMAC" generate "$WORK/q" -p "one and two" --seed 3 -n 40 --json
    eight=$(json .text)
    check "on the device" "$EMAC" generate "$WORK/q" -p "one and two" --seed 3 -n 40 --json --device opencl:0
    same "same text there" "$eight" "$(json .text)"
    expect "a device that is too small says the figures" 16 'bytes do not fit on device' \
        "$EMAC" generate "$WORK/m" -p x --device opencl:0 --device-memory 10K
fi
check "another seed" "$EMAC" generate "$WORK/m" -p "one and two" --seed 4 -n 40 --json
[ "$one" != "$(json .text)" ] && pass "gives another text" || fail "same text for another seed"
check "past the window" "$EMAC" generate "$WORK/m" -p "one" -n 300 --json
stopped() { # until it speaks, then a signal: no result is told as if it were whole
    : >"$WORK/spoken" # there before it is looked at
    "$EMAC" generate "$WORK/m" -p "one" -n 1000000 >>"$WORK/spoken" 2>"$WORK/said" </dev/null &
    p=$!
    while [ "$(wc -c <"$WORK/spoken")" -lt 10 ] && kill -0 $p; do sleep 0.02; done
    kill -TERM $p
    wait $p
    ended=$?
    cat "$WORK/said"
    return $ended
}
expect "stopped on its way" 130 'stopped after [0-9]+ of 1000000 tokens' stopped
expect "an unknown device" 2 "opencl:N" "$EMAC" generate "$WORK/m" -p x --device vega
expect "no prompt" 2 'prompt' "$EMAC" generate "$WORK/m"
expect "no such model" 5 'nothing' "$EMAC" generate "$WORK/nothing" -p x
head -c 1000 "$WORK/m/model.safetensors" >"$WORK/cut" && cp -r "$WORK/m" "$WORK/m2" && cp "$WORK/cut" "$WORK/m2/model.safetensors"
expect "truncated weights are told" '[27]' . "$EMAC" generate "$WORK/m2" -p x
expect "bad temperature" 2 'temperature' "$EMAC" generate "$WORK/m" -p x -t -1
expect "help" 0 'EMAC GENERATE' "$EMAC" generate --help
finish
