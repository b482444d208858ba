#!/bin/sh
# The money's way, on a chain of its own: anvil (from npm), the contracts, a deposit, a paid job, an
# epoch of payouts, a claim; every figure is printed before and after, and must add up to the unit.
#
# usage: demo-chain.sh EMAC     KEEP=1 keeps the working directory; ANVIL names another anvil
# exit 77: anvil is not to be had here
set -eu
EMAC=$1
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/emac-chain.XXXXXX")
PEERS=${PEERS:-$ROOT/build/interop}
unset EMAC_URL EMAC_HOME
UP='' CHAIN=''

stop() {
    trap - EXIT INT TERM
    for p in $UP $CHAIN; do kill -TERM "$p" 2>/dev/null || true; done
    for p in $UP $CHAIN; do wait "$p" 2>/dev/null || true; done
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap stop EXIT
trap 'exit 130' INT TERM

step() { printf '== %s\n' "$*"; }
die() {
    echo "demo-chain: $*" >&2
    for f in "$WORK"/net/*/log "$WORK/anvil.log"; do [ -f "$f" ] && { echo "-- $f"; tail -n 15 "$f"; } >&2; done
    exit 1
}
last() { tail -n 1 "$WORK/out" | jq -r "$1"; }
# as NAME COMMAND...: emac with the keys of that person; the JSON stays in $WORK/out
as() {
    who=$1
    shift
    EMAC_HOME=$WORK/$who "$EMAC" "$@" --json >"$WORK/out" 2>"$WORK/err" ||
        die "$who: emac $*: $(cat "$WORK/err")"
}
rpc() { curl -s "$RPC" -H 'Content-Type: application/json' -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}" | jq -r '.result'; }
mine() { rpc anvil_mine "[\"0x$(printf %x "$1")\"]" >/dev/null; }
units() { awk -v u="$1" 'BEGIN { printf "%.9f EMAC", u / 1e9 }'; }
# Tokens of a wallet, in units; wei pass what a shell counts with.
tokens() {
    word=$(rpc eth_call "[{\"to\":\"$TOKEN\",\"data\":\"0x70a08231000000000000000000000000${1#0x}\"},\"latest\"]")
    python3 -c "import sys; print(int(sys.argv[1], 16) // 10**9)" "$word"
}
balance() { curl -s "$EMAC_URL/v1/ledger/balances?prefix=$1" | jq -r '[.balances[].units | tonumber] | add // 0'; }
# Let the chain grow until everything so far is final, and the ledger follow.
settle_down() {
    mine 4
    final=$(printf '%d' "$(rpc eth_getBlockByNumber '["finalized",false]' | jq -r .number)")
    for _ in $(seq 1 200); do
        curl -s "$EMAC_URL/v1/chain" >"$WORK/chain.out"
        [ "$(jq -r .problem "$WORK/chain.out")" = "" ] || die "$(jq -r .problem "$WORK/chain.out")"
        [ "$(jq -r .block "$WORK/chain.out")" -ge "$final" ] && return 0
        sleep 0.1
    done
    die "the ledger did not follow to block $final: $(cat "$WORK/chain.out")"
}

if [ -z "${ANVIL:-}" ]; then
    mkdir -p "$PEERS"
    [ -f "$PEERS/package.json" ] || printf '{"private": true, "type": "module"}\n' >"$PEERS/package.json"
    [ -x "$PEERS/node_modules/.bin/anvil" ] ||
        (cd "$PEERS" && npm install --silent --no-audit --no-fund @foundry-rs/anvil >/dev/null 2>&1) || true
    ANVIL=$PEERS/node_modules/.bin/anvil
fi
[ -x "$ANVIL" ] || { echo "demo-chain: skipped: anvil cannot be installed from npm here"; exit 77; }

step "a chain: anvil, id 314159, two blocks to finality"
"$ANVIL" --chain-id 314159 --port 0 --slots-in-an-epoch 1 >"$WORK/anvil.log" 2>&1 &
CHAIN=$!
for _ in $(seq 1 200); do
    PORT=$(sed -n 's/^Listening on .*:\([0-9]*\)$/\1/p' "$WORK/anvil.log")
    [ -z "$PORT" ] || break
    kill -0 "$CHAIN" 2>/dev/null || die "anvil did not start"
    sleep 0.1
done
RPC=http://127.0.0.1:$PORT
for who in operator user rig owner; do
    as $who chain key
    eval "$(echo $who | tr a-z A-Z)=$(last .address)"
    rpc anvil_setBalance "[\"$(last .address)\",\"0x56bc75e2d63100000\"]" >/dev/null
done
echo "operator $OPERATOR, user $USER, rigs' owner $RIG, model's owner $OWNER"

step "contracts"
as operator chain deploy --rpc "$RPC" --window 3600 --delay 3600 --least 0.000000001
TOKEN=$(last .token)
GAS=$(last .gas)
echo "$(last .transactions) transactions, $GAS gas; token $TOKEN, vault $(last .vault)"
cp "$WORK/operator/chain.json" "$WORK/user/"
cp "$WORK/operator/chain.json" "$WORK/rig/"
cp "$WORK/operator/chain.json" "$WORK/owner/"
mine 4

step "the operator sells 100 EMAC each to the user and to a maker of models: plain transfers of the token"
rpc anvil_impersonateAccount "[\"$OPERATOR\"]" >/dev/null
for buyer in "$USER" "$OWNER"; do
    rpc eth_sendTransaction "[{\"from\":\"$OPERATOR\",\"to\":\"$TOKEN\",\"data\":\"0xa9059cbb000000000000000000000000${buyer#0x}0000000000000000000000000000000000000000000000056bc75e2d63100000\"}]" >/dev/null
    [ "$(tokens "$buyer")" = 100000000000 ] || die "the transfer did not arrive: $(tokens "$buyer")"
done
rpc anvil_stopImpersonatingAccount "[\"$OPERATOR\"]" >/dev/null

step "a network that follows the chain: one coordinator, two rigs"
: >"$WORK/up.out" # there before it is read
EMAC_HOME=$WORK/operator "$EMAC" up --dir "$WORK/net" --nodes 2 --chain "$WORK/operator/chain.json" >"$WORK/up.out" 2>"$WORK/up.err" &
UP=$!
for _ in $(seq 1 200); do
    EMAC_URL=$(sed -n '1s/^EMAC_URL=//p' "$WORK/up.out")
    [ -z "$EMAC_URL" ] || break
    sleep 0.1
done
[ -n "$EMAC_URL" ] || die "the network did not start: $(cat "$WORK/up.err")"
export EMAC_URL
EMAC_HOME=$WORK/user "$EMAC" wallet faucet >/dev/null 2>&1 && die "the faucet gave play money"

step "both deposit 10 EMAC"
as owner chain deposit 10
as user chain deposit 10
as user wallet show
echo "before the block is final: $(units "$(last .units)") on the ledger"
[ "$(last .units)" = 0 ] || die "credited before it was final"
settle_down
as user wallet show
echo "after:                     $(units "$(last .units)") on the ledger, $(units "$(tokens "$USER")") in the wallet"
[ "$(last .units)" = 10000000000 ] || die "10 EMAC were deposited, not $(last .units) units"

step "a job runs, paid from a deposit; its model is published, for 50 EMAC a million tokens that others train it on"
sed "s|file: .*|file: $ROOT/README.md|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
printf 'price:\n  per_tflop: "100"\n' >>"$WORK/job.yaml"
as owner job submit "$WORK/job.yaml" --wait
MODEL=$(last .model)
echo "$(last .state), model $MODEL"
printf 'asset: %s\nkind: model\nname: first\nprice: {train: "50"}\n' "$MODEL" >"$WORK/licence.yaml"
as owner asset publish "$WORK/licence.yaml"

step "the user's job goes on from it"
sed "/^model:/,/^data:/{/^data:/!d}; s/^name: .*/name: tuned/; s/^budget: .*/budget: \"3\"/" "$WORK/job.yaml" >"$WORK/tuned.yaml"
printf 'base: {cid: %s, train: full}\n' "$MODEL" >>"$WORK/tuned.yaml"
as user job submit "$WORK/tuned.yaml" --wait
echo "$(last .state), model $(last .model)"
as owner asset show "$MODEL"
ROYALTY=$(last .income_units)
echo "royalty: $(units "$ROYALTY")" # 12 steps of 1024 tokens
[ "$ROYALTY" = 614400000 ] || die "12288 tokens at 50 EMAC a million are no $ROYALTY units"
for i in 1 2; do
    DID=$(curl -s "$EMAC_URL/v1/status" | jq -r ".nodes[] | select(.name == \"node-$i\") | .did")
    eval "EARNED$i=$(balance "rig:$DID") DID$i=$DID"
done
echo "node-1 earned $(units "$EARNED1"), node-2 $(units "$EARNED2")"
[ "$EARNED1" -gt 0 ] && [ "$EARNED2" -gt 0 ] || die "a rig earned nothing"

step "the rigs' owner binds his wallet to both rigs, the model's owner his to himself; the epoch is settled"
as rig chain bind --key-file "$WORK/net/node-1/node.key"
as rig chain bind --key-file "$WORK/net/node-2/node.key"
EMAC_HOME=$WORK/owner "$EMAC" chain payout 0.6144 >/dev/null 2>&1 && die "paid out without a wallet"
as owner chain bind
settle_down
as owner chain payout 0.6144
[ "$(last .waiting_units)" = "$ROYALTY" ] || die "$(last .waiting_units) units wait for the model's owner"
as operator chain settle
echo "epoch $(last .epoch) $(last .state): $(units "$(last .total_units)"), root $(last .root)"
[ "$(last .total_units)" = $((EARNED1 + EARNED2 + ROYALTY)) ] || die "the epoch pays $(last .total_units) units"
as operator chain settle
[ "$(last .state)" = proposed ] || die "an open window was not respected: $(last .state)"
rpc evm_increaseTime '[3700]' >/dev/null
settle_down
as operator chain settle
[ "$(last .state)" = final ] || die "the epoch is $(last .state)"
settle_down

step "claims"
BEFORE=$(tokens "$RIG")
for did in "$DID1" "$DID2"; do
    as rig chain claim --account "$did"
    echo "$(units "$(last .claimed_units)") for $(echo "$did" | cut -c1-24)... in block $(last .block), $(last .gas) gas"
done
as rig chain claim --account "$DID1"
[ "$(last .claimed_units)" = 0 ] || die "a second claim paid again"
settle_down
AFTER=$(tokens "$RIG")
echo "rig's owner: $(units "$BEFORE") before, $(units "$AFTER") after"
[ $((AFTER - BEFORE)) = $((EARNED1 + EARNED2)) ] || die "claimed $((AFTER - BEFORE)), earned $((EARNED1 + EARNED2))"
BEFORE=$(tokens "$OWNER")
as owner chain claim
settle_down
AFTER=$(tokens "$OWNER")
echo "model's owner: $(units "$BEFORE") before, $(units "$AFTER") after"
[ $((AFTER - BEFORE)) = "$ROYALTY" ] || die "claimed $((AFTER - BEFORE)), the royalty is $ROYALTY"

step "the user asks for all of his deposit back: the ledger cuts it down to what he did not spend"
as user wallet show
UNSPENT=$(last .units)
as user chain withdraw 10
settle_down
as operator chain settle
[ "$(last .state)" = nothing ] && [ "$(last .reduced)" = 1 ] || die "the withdrawal was not reduced: $(cat "$WORK/out")"
as operator chain settle
[ "$(last .reduced)" = 0 ] || die "it was reduced twice"
settle_down
rpc evm_increaseTime '[3700]' >/dev/null
mine 1
as user chain withdraw
settle_down
LEFT=$(tokens "$USER")
echo "wallet: $(units "$LEFT")"
[ "$LEFT" = $((90000000000 + UNSPENT)) ] || die "the user has $LEFT units of the token"

step "the books"
as operator chain status
FUNDED=$(last .funded_units) PAID=$(last .paid_units) WITHDRAWN=$(last .withdrawn_units) HELD=$(last .ledger.held_units)
echo "chain:  funded $(units "$FUNDED"), paid out $(units "$PAID"), withdrawn $(units "$WITHDRAWN")"
echo "ledger: the chain holds $(units "$HELD") for it"
[ $((FUNDED - PAID - WITHDRAWN)) = "$HELD" ] || die "chain and ledger disagree"
[ "$(tokens "$(jq -r .vault "$WORK/operator/chain.json")")" = "$HELD" ] || die "the vault has other tokens"
"$EMAC" ledger audit || die "the audit failed"
step "done"
