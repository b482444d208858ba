# Same bits: one job gives the same checkpoints and model from --local and from 1, 2, 3 and 5 rigs of
# mixed instruction sets.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "local, 1 thread" "$EMAC" train "$WORK/job.yaml" --local --json --threads 1
model=$(json .model)
state='[.checkpoints[] | .params, .opt, .model] | join(" ")'
checkpoints=$(json "$state")
check "local, 2 threads" "$EMAC" train "$WORK/job.yaml" --local --json --threads 2 --restart
same "2 threads: model" "$model" "$(json .model)"
same "2 threads: checkpoints" "$checkpoints" "$(json "$state")"
for n in 1 2 3 5; do
    devices=cpu # 3: of unlike instruction sets
    [ "$n" = 3 ] && devices=cpu,cpu/portable,cpu
    up "$WORK/net$n" "$n" --devices $devices
    "$EMAC" wallet faucet >/dev/null 2>&1
    check "$n rigs" "$EMAC" job submit "$WORK/job.yaml" --wait --json
    same "$n rigs: model" "$model" "$(json .model)"
    same "$n rigs: checkpoints" "$checkpoints" "$(json "$state")"
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done
finish
