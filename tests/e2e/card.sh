# A rig with an OpenCL device answers requests for text on it: the same text as a processor, several at once; a task that
# needs the device's memory gets it, and the model comes back; a device that is too small leaves it to the processor.
. "$(dirname "$0")/../lib.sh"
if ! has_opencl; then
    echo "card.sh: no OpenCL device on this machine"
    exit 77
fi
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s|hidden_size: .*|hidden_size: 128|; s|intermediate_size: .*|intermediate_size: 384|
    s|layers: .*|layers: 4|; s|  steps: .*|  steps: 4|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)

# ask FILE PROMPT TOKENS SEED
ask() {
    curl -s "$EMAC_URL/v1/completions" \
        -d "{\"model\":\"$model\",\"prompt\":\"$2\",\"max_tokens\":$3,\"seed\":$4,\"temperature\":0.8}" |
        jq -r '.choices[0].text' >"$1"
}
# alone FILE PROMPT TOKENS SEED: by a processor, without a network; the command tells the prompt as well.
alone() {
    "$EMAC" generate "$model" -p "$2" -n "$3" --seed "$4" --json | jq -r ".text[$(printf %s "$2" | wc -c):]" >"$1"
}
all() {
    "$1" "$WORK/$2.1" "one and two" 40 3
    "$1" "$WORK/$2.2" "two" 60 4
    "$1" "$WORK/$2.3" "three" 30 5
}
beside() { ask "$@" & PIDS="$PIDS $!"; }
asked() { # WHAT NAME
    PIDS=
    all beside "$2"
    for pid in $PIDS; do wait "$pid"; done
    for i in 1 2 3; do check "$1, $i" cmp "$WORK/alone.$i" "$WORK/$2.$i"; done
}
answered() { grep -c "it is answered on 'opencl:0" "$WORK/$1/node-1/log"; }

all alone alone
check "it says something" test -s "$WORK/alone.2"
up "$WORK/net" 1 --devices opencl:0 --serving free
check "admitted" until_admitted 1
"$EMAC" wallet faucet -q
check "the job on the network" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
same "has the model" "$model" "$(json .model)"
asked "the device's text is a processor's" first
same "it came from the device" 1 "$(answered net)"
asked "again" second
same "the weights were there still" 1 "$(answered net)"
sed "s|^name: .*|name: other|; s|seed: .*|seed: 77|" "$WORK/job.yaml" >"$WORK/other.yaml"
check "a job between them" timeout 240 "$EMAC" job submit "$WORK/other.yaml" --wait
asked "and after a job" third
down

# So little that its tasks need more than half of it.
up "$WORK/small" 1 --devices opencl:0 --device-memory 24M --serving free
check "a device with little memory: admitted" until_admitted 1
"$EMAC" wallet faucet -q
check "a device with little memory: the job" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
same "a device with little memory: the model" "$model" "$(json .model)"
asked "a device with little memory" little
check "a device with little memory: a job between" timeout 240 "$EMAC" job submit "$WORK/other.yaml" --wait
asked "a device with little memory: after a job" less
check "a device with little memory: the model gave way" grep -q "a task needs the device" "$WORK/small/node-1/log"
same "a device with little memory: and came back" 2 "$(answered small)"
down
finish
