# A rig that returns wrong bits is caught, unpaid and put out; the model is unaffected.
. "$(dirname "$0")/../lib.sh"
BUILD=${BUILD:-$ROOT/build}
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 40/; s/^budget: .*/budget: \"20\"\npolicy: {check: 1.0}/" \
    "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 3
bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/bad" --flip-share 0.3 --seed 5 \
    >"$WORK/bad.out" 2>"$WORK/bad.err"
until_admitted 4
"$EMAC" wallet faucet >/dev/null 2>&1
check "the job succeeds" timeout 300 "$EMAC" job submit "$WORK/job.yaml" --wait --json
same "with the honest model" "$model" "$(json .model)"
[ "$(json .figures.mismatches)" -ge 1 ] && pass "a mismatch was seen" || fail "no mismatch was seen"
bad=$(curl -s "$EMAC_URL/v1/status" | jq -r '.nodes[] | select(.state == "quarantined") | .did')
same "one rig is quarantined" 1 "$(echo "$bad" | grep -c did:key)"
check "audit" "$EMAC" ledger audit
finish
