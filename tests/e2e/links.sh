# Thin links: rigs behind unlike ones, one of them unreachable, give the same model as --local.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "locally" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
up "$WORK/net" 2 --link 10M,50M,20ms:2M,8M,5ms
"$EMAC" wallet faucet >/dev/null 2>&1
bg "$EMAC" node --dir "$WORK/n3" --name third --unreachable --link 5M,5M,10ms >/dev/null 2>"$WORK/n3.log"
until_admitted 3
began=$(date +%s%N)
check "by way of thin links" "$EMAC" job submit "$WORK/job.yaml" --wait --json
took=$((($(date +%s%N) - began) / 1000000))
same "the same model" "$model" "$(json .model)"
# A step is two tasks one after the other; each comes by the shortest link and its receipt goes by it.
least=$((12 * 2 * 2 * 5))
[ "$took" -ge "$least" ] && pass "no faster than the links ($took ms)" || fail "no faster than the links" "$took ms, least $least"
check "audit" "$EMAC" ledger audit
finish
