# Crash: random kill -9 of rigs and of the coordinator while jobs run (10 of them; KILLS=200 in the
# soak). Each job ends with the right model, the audit holds after every kill, nobody is paid twice.
# SEED replays the choice of victims and moments.
. "$(dirname "$0")/../lib.sh"
KILLS=${KILLS:-10}
SEED=${SEED:-1}
RIGS=3
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 60/; s/checkpoint_every: .*/checkpoint_every: 5/; s/^budget: .*/budget: \"20\"/" \
    "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "the right model, locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" $RIGS
"$EMAC" wallet faucet >/dev/null 2>&1

submit() { "$EMAC" job submit "$WORK/job.yaml" --json 2>/dev/null | tail -n 1 | jq -r .id; }
state() { "$EMAC" job show "$1" --json 2>/dev/null | tail -n 1 | jq -r '.state // "away"'; }
# a number in [0, n) from the seed and a counter
draw() { awk -v s="$SEED" -v i="$1" -v n="$2" 'BEGIN { srand(s * 100003 + i); rand(); print int(rand() * n) }'; }
up_again() { for _ in $(seq 1 150); do curl -sf "$EMAC_URL/healthz" >/dev/null && return 0; sleep 0.1; done; return 1; }

id=$(submit)
jobs_done=0
bad=0
for i in $(seq 1 "$KILLS"); do
    sleep "$(draw "$i" 3).$(draw $((i + 500)) 10)"
    victim=$(draw $((i + 1000)) $((RIGS + 1)))
    name=node-$victim
    [ "$victim" = 0 ] && name=coordinator
    kill -9 "$(cat "$WORK/net/$name/pid")" 2>/dev/null
    up_again || { bad=$((bad + 1)); echo "# the coordinator did not come back after kill $i of $name"; }
    if ! "$EMAC" ledger audit >"$WORK/audit" 2>&1; then
        bad=$((bad + 1))
        echo "# audit after kill $i ($name): $(cat "$WORK/audit")"
    fi
    case $(state "$id") in
    succeeded)
        jobs_done=$((jobs_done + 1))
        got=$("$EMAC" job show "$id" --json | tail -n 1 | jq -r .model)
        [ "$got" = "$model" ] || { bad=$((bad + 1)); echo "# job $id gave $got"; }
        id=$(submit)
        ;;
    failed | cancelled)
        bad=$((bad + 1))
        echo "# job $id: $("$EMAC" job show "$id")"
        id=$(submit)
        ;;
    esac
done
same "nothing went wrong in $KILLS kills" 0 "$bad"
check "the last job ends" timeout 240 "$EMAC" job show "$id" --wait --json
same "with the right model" "$model" "$(json .model)"
check "audit" "$EMAC" ledger audit --json
same "holds" true "$(json .ok)"
# paid twice? a pay posting's key names job, task and rig; count postings a key over all pages
after=0
: >"$WORK/pays"
while :; do
    "$EMAC" ledger journal --after $after --limit 1000 --json | tail -n 1 >"$WORK/page"
    last=$(jq -r '[.journal[].posting] | max // 0' "$WORK/page")
    [ "$last" -gt "$after" ] || break
    jq -r '.journal[] | select(.cause == "pay") | "\(.posting) \(.key)"' "$WORK/page" >>"$WORK/pays"
    after=$last
done
[ -s "$WORK/pays" ] && pass "pay postings are there" || fail "the journal shows no pay"
sort -u "$WORK/pays" | cut -d' ' -f2 | sort | uniq -d >"$WORK/twice"
same "nobody is paid twice" "0" "$(wc -l <"$WORK/twice" | tr -d ' ')"
echo "# $jobs_done jobs ended during the kills; seed $SEED"
finish
