# Half of the rigs are replaced again and again, without a word, by others that were never seen: every
# step is done, each job's curve of the loss and its model are those of a calm network.
# FOR and EVERY are seconds, RIGS how many there are at a time, DUTY the share of time that they compute;
# the soak takes half an hour and a minute.
. "$(dirname "$0")/../lib.sh"
FOR=${FOR:-12}
EVERY=${EVERY:-4}
RIGS=${RIGS:-6}
STEPS=${STEPS:-80}
DUTY=${DUTY:-1}
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: $STEPS/; s/checkpoint_every: .*/checkpoint_every: 10/
    s/^budget: .*/budget: \"20\"/" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 1 --no-restart
"$EMAC" wallet faucet >/dev/null 2>&1

submit() { "$EMAC" job submit "$WORK/job.yaml" --json 2>/dev/null | tail -n 1 | jq -r .id; }
job() { curl -s "$EMAC_URL/v1/jobs/$1" | jq -r "$2"; }
# the loss of every step, and how many there are
curve() {
    curl -s "$EMAC_URL/v1/jobs/$1/metrics" |
        jq -c '[.metrics[] | select(.name == "loss") | [.step, .value]]'
}
wait_end() {
    while [ "$(job "$1" .state)" = running ]; do sleep 0.5; done
    job "$1" .state
}

calm=$(submit)
same "a calm run" succeeded "$(wait_end "$calm")"
same "a calm run: the model" "$model" "$(job "$calm" .model)"
curve "$calm" >"$WORK/calm"
same "a calm run: a loss for every step" "$STEPS" "$(jq length "$WORK/calm")"

count=0
here='' # processes of the rigs that are there, oldest first
arrive() {
    count=$((count + 1))
    behind=''
    [ $((count % 3)) -ne 0 ] || behind=--unreachable # behind a router
    "$EMAC" node --dir "$WORK/rig-$count" --name "rig-$count" --threads 1 --duty "$DUTY" $behind \
        >/dev/null 2>"$WORK/rig-$count.log" &
    here="$here $!"
    BG_PIDS="$BG_PIDS $!"
}
leave() {
    # shellcheck disable=SC2086
    set -- $here
    kill -9 "$1"
    wait "$1" 2>/dev/null
    shift
    here=" $*"
}
for _ in $(seq "$RIGS"); do arrive; done
kill -9 "$(cat "$WORK/net/node-1/pid")" # the calm one goes, too

bad=0
done_jobs=0
began=$(date +%s)
next=$((began + EVERY))
id=$(submit)
while :; do
    now=$(date +%s)
    if [ "$now" -ge "$next" ]; then
        for _ in $(seq $((RIGS / 2))); do leave; done
        for _ in $(seq $((RIGS / 2))); do arrive; done
        rm -rf "$WORK/rig-$((count - 2 * RIGS))"
        next=$((next + EVERY))
        "$EMAC" ledger audit >/dev/null 2>&1 || bad=$((bad + 1))
    fi
    state=$(job "$id" .state)
    if [ "$state" != running ]; then
        curve "$id" >"$WORK/curve"
        cmp -s "$WORK/calm" "$WORK/curve" && [ "$state $(job "$id" .model)" = "succeeded $model" ] ||
            {
                bad=$((bad + 1))
                echo "# job $id: $state, $(job "$id" .reason), $(jq length "$WORK/curve") losses"
            }
        done_jobs=$((done_jobs + 1))
        [ $((now - began)) -lt "$FOR" ] || break
        id=$(submit)
    fi
    [ $((now - began)) -lt $((FOR * 4 + 240)) ] || {
        bad=$((bad + 1))
        echo "# job $id stands at step $(job "$id" .step)"
        break
    }
    sleep 0.2
done
same "nothing went wrong while $((count - RIGS)) rigs were replaced" 0 "$bad"
check "audit" "$EMAC" ledger audit
echo "# $done_jobs jobs, each with the same $STEPS losses and model; $(($(date +%s) - began)) s"
finish
