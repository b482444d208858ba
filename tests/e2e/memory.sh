# Memory: three rigs, each with less than half of what the whole model's training needs, train it to
# the model of a machine that has room; one of them alone is refused, with the figures and a recipe
# that fits. The limit is the system's (RLIMIT_DATA, which counts every page that can be written) for
# the whole process, and --device-memory for its tasks.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
cat >"$WORK/whole.yaml" <<END
name: big
model: {hidden_size: 640, intermediate_size: 1728, layers: 6, heads: 8}
data: {file: $WORK/text}
recipe: {seq_len: 32, micro_batch: 2, micro_batches: 1, steps: 2, checkpoint_every: 2, lr: 0.001, eval_batches: 2}
policy: {check: 0, state_copies: 1}
END
expect "a small rig alone is refused, with the figures and a recipe that fits" 2 \
    "needs [0-9]+ MiB.*may use 320 MiB.*kind: pipeline, stages: [0-9]+} each needs" \
    "$EMAC" train "$WORK/whole.yaml" --local --device-memory 320M
whole=$(cat "$WORK/out" "$WORK/err" | sed -n 's/.*the task needs \([0-9]*\) MiB.*/\1/p')
stages=$(cat "$WORK/out" "$WORK/err" | sed -n 's/.*stages: \([0-9]*\)}.*/\1/p')
staged=$(cat "$WORK/out" "$WORK/err" | sed -n 's/.*each needs \([0-9]*\) MiB.*/\1/p')
limit=$((whole / 2 - 1))
echo "# the whole needs $whole MiB, a stage of $stages $staged MiB, a rig has $limit MiB"
check "the whole" "$EMAC" train "$WORK/whole.yaml" --local --json
model=$(json .model)
{ cat "$WORK/whole.yaml"; echo "spread: {kind: pipeline, stages: $stages}"; } >"$WORK/staged.yaml"
if ! (ulimit -d $((limit * 1024))) 2>/dev/null; then
    echo "# this shell cannot limit memory"
    exit 77
fi
(ulimit -d $((limit * 1024)) && "$EMAC" train "$WORK/whole.yaml" --local --restart >"$WORK/out" 2>&1)
check "the system's limit is too little for the whole" test $? -ne 0
# The rest is a campaign (make soak, MEMORY=1). A rig may keep one stage between tasks, and what a step
# makes beside it: the state of the largest is 127 MiB.
[ -n "${MEMORY:-}" ] || finish
ulimit -d $((limit * 1024))
up "$WORK/net" 3 --threads 1 --device-memory "$((staged + 8))M" --memory-mb 256
until_admitted 3
"$EMAC" wallet faucet >/dev/null 2>&1
check "three limited rigs" timeout 240 "$EMAC" job submit "$WORK/staged.yaml" --wait --json
same "three limited rigs: model" "$model" "$(json .model)"
for i in 1 2 3; do
    check "rig $i took part" grep -q "done in" "$WORK/net/node-$i/log"
done
peaks=$(for p in $(pgrep -f "emac node.*$WORK/net"); do sed -n 's/VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$p/status"; done | sort -n | tail -n 1)
echo "# the largest rig used $((peaks / 1024)) MiB"
down
finish
