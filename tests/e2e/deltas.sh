# Local SGD among liars: a delta that is no number, huge, or of another shape is refused, made again by
# another rig, and its maker named and put out; the model is the honest one. When honest deltas pass
# the bound, the job ends saying that training diverged, and no rig is blamed.
. "$(dirname "$0")/../lib.sh"
BUILD=${BUILD:-$ROOT/build}
small_text "$WORK/text" 3000
job() { # NAME SPREAD
    sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 12/; s/^budget: .*/budget: \"20\"/
        s/checkpoint_every: .*/checkpoint_every: 4/" "$ROOT/examples/tiny.yaml" >"$WORK/$1.yaml"
    echo "policy: {check: 0}
spread: {kind: local, replicas: 8, inner_steps: 4, $2}" >>"$WORK/$1.yaml"
}
rigs() { # HOW MANY, STATE
    for _ in $(seq 1 200); do
        curl -s "$EMAC_URL/v1/status" |
            jq -e "[.nodes[] | select(.state == \"$2\")] | length == $1" >/dev/null && return
        sleep 0.1
    done
}
job f32 "delta: f32"
job int4 "delta: int4"
job bound "delta: f32, max_norm: 0.0001"
expect "locally a job that passes its bound says that it diverged" '[1-9].*' 'training diverged' \
    "$EMAC" train "$WORK/bound.yaml" --local
up "$WORK/net" 3 --no-restart
for i in 1 2 3 4 5 6; do "$EMAC" wallet faucet >/dev/null 2>&1; done
n=0
for lie in nan:f32:'NaN or inf' 1e10:f32:'norm of' shape:f32:tensor 1e10:int4:'NaN or inf'; do
    number=${lie%%:*} what=${lie##*:}
    form=${lie#*:} && form=${form%%:*}
    n=$((n + 1))
    check "$number, $form: locally" "$EMAC" train "$WORK/$form.yaml" --local --json --restart
    model=$(json .model)
    bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/bad$n" --flip-share 0 \
        --delta "$number" --threads 1 >"$WORK/bad$n.out" 2>"$WORK/bad$n.log"
    rigs 4 admitted
    bad=$(sed -n 's/^EMAC_NODE=//p' "$WORK/bad$n.out")
    state() { curl -s "$EMAC_URL/v1/status" | jq -r --arg d "$bad" '.nodes[] | select(.did == $d) | .state'; }
    for _ in 1 2 3 4 5 6 7 8; do # until it was given a replica
        check "$number, $form: the job ends" timeout 60 "$EMAC" job submit "$WORK/$form.yaml" --wait --json
        same "$number, $form: with the honest model" "$model" "$(json .model)"
        id=$(json .id)
        [ "$(state)" = quarantined ] && break
    done
    curl -s "$EMAC_URL/v1/jobs/$id/logs?limit=1000" >"$WORK/log"
    expect "$number, $form: the job's log names its rig, and why" 0 "'$bad' made of .* is refused .*$what" \
        cat "$WORK/log"
    rigs "$n" quarantined
    same "$number, $form: which is put out" quarantined "$(state)"
    for _ in $(seq 1 100); do grep -q 'this rig is quarantined' "$WORK/bad$n.log" && break; sleep 0.1; done
    expect "$number, $form: and told why" 0 "quarantined: .*its result of task 'local/" cat "$WORK/bad$n.log"
done
expect "a job that passes its bound ends, and says that it diverged" 1 'training diverged' \
    timeout 60 "$EMAC" job submit "$WORK/bound.yaml" --wait
same "nobody is blamed for it" "$n" \
    "$(curl -s "$EMAC_URL/v1/status" | jq '[.nodes[] | select(.state == "quarantined")] | length')"
check "audit" "$EMAC" ledger audit
finish
