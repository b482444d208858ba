# Every optimiser, with a schedule of its own, learns; and gives one model on any device, with any threads,
# from --local and from a network.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 6000
# on NAME OPTION...: the job of that name ends there in the same model.
on() {
    which=$1
    shift
    check "$which: $*" "$EMAC" train "$WORK/$which.yaml" --local --json --restart "$@"
    same "$which: $*: model" "$model" "$(json .model)"
}

# learns NAME BITS LR FIELDS: bits a held-out byte are below BITS after 30 steps; they begin at 8, and the
# text's letters at their frequencies take 4.
learns() {
    sed -e "s|file: .*|file: $WORK/text|" -e 's/steps: 12/steps: 30/' -e "s/lr: 0.003/lr: $3/" \
        -e "s/optimiser: adamw/$4/" -e 's/checkpoint_every: 4/checkpoint_every: 30/' \
        "$ROOT/examples/tiny.yaml" | tr ';' '\n' >"$WORK/$1.yaml"
    check "$1" "$EMAC" train "$WORK/$1.yaml" --local --json --threads 1
    model=$(json .model) bits=$(json .loss_bits_per_byte)
    eval "model_$1=$model"
    echo "# $1: $bits bits a byte"
    if awk "BEGIN { exit !($bits < $2) }"; then pass "$1 learns"; else
        fail "$1 learns" "$bits bits a byte, wanted less than $2"; fi
    if has_isa avx2; then on "$1" --threads 2 --isa avx2; fi
    # Portable kernels, which make every fma of whole numbers, are some thirty times slower: four steps of it.
    sed -e 's/steps: 30/steps: 4/' -e 's/_every: 30/_every: 4/; s/decay_steps: 15/decay_steps: 2/' \
        "$WORK/$1.yaml" >"$WORK/$1-short.yaml"
    check "$1, four steps" "$EMAC" train "$WORK/$1-short.yaml" --local --json --threads 1
    model=$(json .model)
    on "$1-short" --threads 2 --isa portable
    model=$(eval "echo \$model_$1")
}

learns adamw 4.4 0.01 'optimiser: adamw;  schedule: linear;  min_lr: 0'
learns sgd 4.4 0.5 'optimiser: sgd;  nesterov: true;  schedule: constant'
learns lion 4.4 0.003 'optimiser: lion;  schedule: wsd;  decay_shape: linear'
learns muon 4.4 0.01 'optimiser: muon;  schedule: wsd;  decay_steps: 15'
if has_opencl
then
    on muon --device opencl:0
fi
up "$WORK/net" 2
"$EMAC" wallet faucet >/dev/null 2>&1
for o in sgd lion muon; do
    check "$o: 2 rigs" "$EMAC" job submit "$WORK/$o.yaml" --wait --json
    eval "same '$o: 2 rigs: model' \"\$model_$o\" \"\$(json .model)\""
done
check "audit" "$EMAC" ledger audit
down
finish
