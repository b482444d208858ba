# Evaluation during training, early stopping and the best parameters follow from the job alone: --local
# and 1, 2 and 3 rigs stop after the same step with the same model.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 6000
# job NAME RECIPE...: an example with other fields in its recipe, of a few hundred steps a second.
job() {
    name=$1
    shift
    sed -e "s|file: .*|file: $WORK/text|" -e 's/steps: 12/steps: 40/' -e 's/lr: 0.003/lr: 0.02/' \
        -e 's/checkpoint_every: 4/checkpoint_every: 16/' "$ROOT/examples/tiny.yaml" |
        awk -v more="$*" '{ print } /eval_batches/ { n = split(more, m, ";")
            for (i = 1; i <= n; i++) print "  " m[i] }' >"$WORK/$name.yaml"
}
STATE='[.checkpoints[] | .step, .params, .opt, .model] | map(tostring) | join(" ")'

# locally NAME: what others are compared with.
locally() {
    check "$1: local" "$EMAC" train "$WORK/$1.yaml" --local --json --threads 1
    eval "model_$1=\$(json .model) checkpoints_$1=\$(json \"\$STATE\") steps_$1=\$(json .steps)"
    eval "score_$1=\$(json .loss_bits_per_byte)"
}

# on_rigs N NAME: on the network that is up.
on_rigs() {
    check "$2: $1 rigs" "$EMAC" job submit "$WORK/$2.yaml" --wait --json
    eval "same '$2: $1 rigs: model' \"\$model_$2\" \"\$(json .model)\""
    eval "same '$2: $1 rigs: checkpoints' \"\$checkpoints_$2\" \"\$(json \"\$STATE\")\""
    eval "same '$2: $1 rigs: steps' \"\$steps_$2\" \"\$(json .step)\""
    eval "same '$2: $1 rigs: score' \"\$score_$2\" \"\$(json .loss_bits_per_byte)\""
}

job plain
job watched 'eval_every: 5'
job stopped 'eval_every: 3;patience: 1'
job best 'eval_every: 4;keep: best'
job both 'eval_every: 3;patience: 2;keep: best'
for j in plain watched stopped best both; do locally $j; done
check "both: local, 2 threads" "$EMAC" train "$WORK/both.yaml" --local --json --threads 2 --restart
same "both: 2 threads: model" "$model_both" "$(json .model)"
same "both: 2 threads: checkpoints" "$checkpoints_both" "$(json "$STATE")"
same "evaluating changes no model" "$model_plain" "$model_watched"
[ "$steps_watched" = 40 ] && [ "$steps_stopped" -lt 40 ] && pass "training stops early" ||
    fail "training stops early" "watched $steps_watched, stopped $steps_stopped"
[ "$model_best" != "$model_watched" ] && pass "the best is not the last" ||
    fail "the best is not the last" "$model_best"
awk "BEGIN { exit !($score_best < $score_watched) }" && pass "the best is better" ||
    fail "the best is better" "$score_best, last $score_watched"
for n in 1 2 3; do
    up "$WORK/net$n" "$n" --no-restart
    "$EMAC" wallet faucet >/dev/null 2>&1
    on_rigs $n both
    [ "$n" = 2 ] && on_rigs $n stopped
    if [ "$n" = 3 ]; then # one of them leaves, with what it holds of the best
        "$EMAC" job submit "$WORK/best.yaml" --json >"$WORK/submit"
        id=$(tail -n 1 "$WORK/submit" | jq -r .id)
        for _ in $(seq 1 600); do
            [ "$("$EMAC" job show "$id" --json | tail -n 1 | jq -r '.step // 0')" -ge 10 ] && break
            sleep 0.1
        done
        kill -9 "$(cat "$WORK/net3/node-1/pid")"
        check "best: a rig leaves" timeout 240 "$EMAC" job show "$id" --wait --json
        same "best: a rig leaves: model" "$model_best" "$(json .model)"
        same "best: a rig leaves: score" "$score_best" "$(json .loss_bits_per_byte)"
    fi
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done
expect "patience without evaluations" 2 'recipe.patience needs evaluations during training' \
    "$EMAC" train --local "$(job wrong 'patience: 2'; echo "$WORK/wrong.yaml")"
finish
