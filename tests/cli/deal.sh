# Storage deals: made, fetched, proven in every epoch, paid; a rig that lost a block, one that is gone.
. "$(dirname "$0")/../lib.sh"

coordinator() {
    : >"$WORK/co.out"
    "$EMAC" coordinator --dir "$WORK/net" --port "$1" --dev --deal-epoch 1.5 >"$WORK/co.out" 2>>"$WORK/co.err" &
    CO=$!
    BG_PIDS="$BG_PIDS $CO"
    url_from "$WORK/co.out" "$CO"
}
rig() { # name
    bg "$EMAC" node --dir "$WORK/$1" --name "$1" --threads 1 --offer-mb 64 >"$WORK/$1.out" 2>"$WORK/$1.err"
    eval "$1=$BG"
}
# until_says ACTION NAME FILTER VALUE: wait until `emac deal ACTION` says so.
until_says() {
    for _ in $(seq 1 300); do
        "$EMAC" deal "$1" "$DEAL" --json >"$WORK/out" 2>"$WORK/err"
        [ "$(json "$3" 2>/dev/null)" = "$4" ] && { pass "$2"; return; }
        sleep 0.1
    done
    fail "$2" "$3 is $(json "$3"), not $4" "$(cat "$WORK/out")" "$(tail -n 5 "$WORK"/rig*.err)"
}
until_deal() { until_says show "$@"; }
active='[.holders[] | select(.state == "active")] | length'

coordinator 0
rig rig1
rig rig2
check "money" "$EMAC" wallet faucet
head -c 300000 /dev/urandom >"$WORK/data"
check "add data" "$EMAC" data add "$WORK/data" --json
cid=$(json .cid)
check "its piece" "$EMAC" data piece "$cid" --json
piece=$(json .piece)
expect "a deal without a price" 2 'add --price' "$EMAC" deal make "$cid" --days 1
expect "a deal without a time" 2 'for how long' "$EMAC" deal make "$cid" --price 1
expect "a price that is none, before anything is fetched" 2 "price: 'much' is not an amount" "$EMAC" deal make "$ROOT" --price much --days 1
expect "days that are none" 2 'for how long' "$EMAC" deal make "$cid" --price 1 --days nan
expect "too many replicas" 2 "'replicas' must be a whole number from 1 to 16" "$EMAC" deal make "$cid" --price 1 --epochs 5 --replicas 17
expect "a price that pays nothing" 2 'pays less than one unit' "$EMAC" deal make "$cid" --price 0.000000001 --epochs 5
expect "more than there is" 4 'but needs' "$EMAC" deal make "$cid" --price 90000 --epochs 200000 --replicas 16
check "make a deal" "$EMAC" deal make "$cid" --price 10 --epochs 60 --nonce one --json
DEAL=$(json .id)
same "about the piece" "$piece" "$(json .piece)"
check "the same again" "$EMAC" deal make "$cid" --price 10 --epochs 60 --nonce one --json
same "is the same deal" "$DEAL" "$(json .id)"
expect "other terms by that nonce" 6 'use another' "$EMAC" deal make "$cid" --price 11 --epochs 60 --nonce one
until_deal "two rigs keep it" "$active" 2
until_deal "and are paid for proofs" '[.holders[] | select(.proven >= 1)] | length' 2

# A block is lost: unpaid for an epoch; it is fetched again, and the next epoch proven.
lost=$(json '.holders[0].node')
for r in rig1 rig2; do grep -q "$lost" "$WORK/$r.out" && bad=$r; done
find "$WORK/$bad/store/blocks" -type f -delete
until_says verify "a rig that lost its block is not paid" .missed 1
"$EMAC" deal show "$DEAL" --json >"$WORK/out"
until_deal "and then proves that it has it again" ".holders[0] | .proven > $(json .holders[0].proven) and .misses == 0" true

# The coordinator dies and comes back: nobody is to blame for the epoch.
kill -9 "$CO"
wait "$CO" 2>/dev/null
coordinator "${EMAC_URL##*:}"
until_deal "both still keep it" "$active" 2

# A rig is gone: two epochs missed, its bond lost, its place taken by another.
rig rig3
eval "kill -9 \$$bad"
until_deal "the rig that is gone loses the replica" "[.holders[] | select(.state == \"lost\")] | length" 1
same "and its bond" true "$(json '[.holders[] | select(.state == "lost")][0].lost_units | tonumber > 0')"
until_deal "another keeps it" "$active" 2
until_deal "and proves it" '[.holders[] | select(.replica == 2 and .proven >= 1)] | length' 1
check "the journal" "$EMAC" ledger journal --json
same "who sent it was paid" true "$(json '[.journal[] | select(.cause == "traffic" and (.units | tonumber) > 0)] | length > 0')"
check "every proof is right" "$EMAC" deal verify "$DEAL" --json
same "and there are many" true "$(json '.right >= 3 and .missed == 3 and .wrong == 0')"
check "the ledger too" "$EMAC" ledger audit
check "the data come from rigs" "$EMAC" data get "$cid" -o "$WORK/back" --home "$WORK/home2"
check "the same data" cmp "$WORK/data" "$WORK/back"
expect "only the client cancels" 3 'belongs to' "$EMAC" deal cancel "$DEAL" --home "$WORK/home2"
check "cancel" "$EMAC" deal cancel "$DEAL"
until_deal "it ends with the epoch" .state cancelled
until_deal "nobody keeps it" "$active" 0
for _ in $(seq 1 100); do [ -z "$(ls "$WORK/rig3/deals" 2>/dev/null)" ] && break; sleep 0.1; done
[ -z "$(ls "$WORK/rig3/deals")" ] && pass "the rigs let go" || fail "the rigs let go" "$(ls "$WORK/rig3/deals")"
check "the ledger at the end" "$EMAC" ledger audit
check "list" "$EMAC" deal list
expect "no such deal" 5 "no deal 'deal-0'" "$EMAC" deal show deal-0
expect "a bad id" 2 'is not the id' "$EMAC" deal show ../x
expect "an unknown action" 2 'deal knows make' "$EMAC" deal frob
expect "help" 0 'EMAC DEAL' "$EMAC" deal --help
finish
