# A job that is not a language model: an image classifier gives the same checkpoints, model and accuracy
# from --local (1 and 2 threads, each instruction set) and from 1 and 3 rigs. FASHION=1 runs the whole of
# examples/fashion-mnist.yaml instead of a small one (tests/soak.sh does).
. "$(dirname "$0")/../lib.sh"
if [ -n "${FASHION:-}" ]; then
    check "import Fashion-MNIST" fashion_import
    cp "$ROOT/examples/fashion-mnist.yaml" "$WORK/job.yaml"
else
    images "$WORK/images"
    check "import" images_import "$WORK/images"
    cat >"$WORK/job.yaml" <<END
name: quarters
model: {architecture: cnn, stages: 2, filters: 4, hidden_size: 16}
data: {cid: $(cat "$WORK/out")}
recipe: {micro_batch: 20, micro_batches: 4, steps: 60, lr: 0.01, checkpoint_every: 20}
END
fi
result='[.model, .accuracy, (.checkpoints[] | .params, .opt, .model)] | join(" ")'
check "local, 1 thread" "$EMAC" train "$WORK/job.yaml" --local --json --threads 1
want=$(json "$result")
echo "# accuracy $(json .accuracy), $(json '.seconds | round') s alone"
same "it has learnt" true "$(json '.accuracy > 0.9')"
check "local, 2 threads" "$EMAC" train "$WORK/job.yaml" --local --json --threads 2 --restart
same "2 threads: the same" "$want" "$(json "$result")"
for isa in portable avx2 avx512; do
    has_isa $isa || continue
    check "local, $isa" "$EMAC" train "$WORK/job.yaml" --local --json --isa $isa --restart
    same "$isa: the same" "$want" "$(json "$result")"
done
for n in 1 3; do
    devices=cpu # 3: of unlike instruction sets
    [ "$n" = 3 ] && devices=cpu,cpu/portable,cpu
    up "$WORK/net$n" "$n" --devices $devices
    "$EMAC" wallet faucet >/dev/null 2>&1
    began=$(date +%s)
    check "$n rigs" "$EMAC" job submit "$WORK/job.yaml" --wait --json
    same "$n rigs: the same" "$want" "$(json "$result")"
    echo "# $n rigs: $(($(date +%s) - began)) s"
    same "$n rigs: counted in" samples "$(json .unit)"
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done
finish
