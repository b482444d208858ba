# Rigs that differ are told apart by proof: one that holds to a lie is shown wrong at one operator,
# one whose card lost a bit says so itself; either is out, nobody else is, the model is the honest one.
. "$(dirname "$0")/../lib.sh"
BUILD=${BUILD:-$ROOT/build}
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 12/; s/^budget: .*/budget: \"20\"\npolicy: {check: 1.0}/" \
    "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)

trial() { # name, --flip, fate
    up "$WORK/$1" 2
    bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/$1-bad" --flip "$2" --seed 5 \
        >"$WORK/$1.out" 2>"$WORK/$1.err"
    until_admitted 3
    bad=$(sed -n 's/^EMAC_NODE=//p' "$WORK/$1.out")
    "$EMAC" wallet faucet >/dev/null 2>&1
    check "$1: the job succeeds" timeout 200 "$EMAC" job submit "$WORK/job.yaml" --wait --json
    job=$(json .id)
    same "$1: with the honest model" "$model" "$(json .model)"
    status=$(curl -s "$EMAC_URL/v1/status")
    same "$1: one rig is quarantined, the right one" "$bad" \
        "$(echo "$status" | jq -r '[.nodes[] | select(.state == "quarantined") | .did] | join(" ")')"
    disputes=$(curl -s "$EMAC_URL/v1/jobs/$job/disputes")
    same "$1: it lost as a $3" "$3" \
        "$(echo "$disputes" | jq -r "[.disputes[].sides[] | select(.node == \"$bad\") | .fate] | unique | join(\" \")")"
    same "$1: the honest one stands" "stands" \
        "$(echo "$disputes" | jq -r "[.disputes[].sides[] | select(.node != \"$bad\") | .fate] | unique | join(\" \")")"
    id=$(echo "$disputes" | jq -r '[.disputes[] | select(.state == "decided") | .id][0]')
    check "$1: the ledger holds" "$EMAC" ledger audit
}

trial liar always liar
grep -q "proves its result" "$WORK/liar.err" && pass "liar: it is told why" || fail "liar: $(tail -1 "$WORK/liar.err")"
check "liar: balances" "$EMAC" ledger balances --json
same "liar: it has earned nothing" 0 "$(json "[.balances[] | select(.account | contains(\"$bad\")) | .units | tonumber] | add // 0")"
proof=$(curl -s "$EMAC_URL/v1/disputes/$id")
same "liar: at one leaf" true "$(echo "$proof" | jq '.leaf >= 0')"
splits=$(echo "$proof" | jq '[.answers[] | select(.kind == "split" and .side == 0)] | length')
[ "$splits" -ge 3 ] && [ "$splits" -le 16 ] && pass "liar: found in $splits steps" || fail "liar: $splits steps"
down
trial card once faulty
grep -q "does not repeat itself" "$WORK/card.err" && pass "card: it is told why" || fail "card: $(tail -1 "$WORK/card.err")"
finish
