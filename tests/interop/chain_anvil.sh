# chain_anvil.sh: a coordinator that follows a real EVM (anvil) through reorganisations of depth 1 to
# 100, dropped, replaced and repeated transactions, and two nodes that disagree. Used by
# tests/interop/run, which sets ANVIL and sources lib.sh.
RPC=''
CHAINS=''

ask() { # URL METHOD PARAMS
    curl -s "$1" -H 'Content-Type: application/json' -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$2\",\"params\":$3}" | jq -r '.result'
}
rpc() { ask "$RPC" "$1" "$2"; }
mine() { rpc anvil_mine "[\"0x$(printf %x "$1")\"]" >/dev/null; }
height() { printf '%d' "$(rpc eth_blockNumber '[]')"; }

# chain_up NAME [OPTION...]: another anvil; its URL in $RPC.
chain_up() {
    log=$WORK/$1.log
    shift
    bg "$ANVIL" --chain-id 314159 --port 0 "$@" >"$log" 2>&1
    port=''
    for _ in $(seq 1 200); do
        port=$(sed -n 's/^Listening on .*:\([0-9]*\)$/\1/p' "$log")
        [ -z "$port" ] || break
        sleep 0.1
    done
    RPC=http://127.0.0.1:$port
}

# The deposits' sum on the ledger.
held() { curl -s "$EMAC_URL/v1/chain" | jq -r .held_units; }
problem() { curl -s "$EMAC_URL/v1/chain" | jq -r .problem; }
# Until the ledger has followed to the last final block.
followed() {
    want=$(printf '%d' "$(rpc eth_getBlockByNumber '["finalized",false]' | jq -r .number)")
    for _ in $(seq 1 300); do
        [ "$(curl -s "$EMAC_URL/v1/chain" | jq -r .block)" -ge "$want" ] && return 0
        sleep 0.1
    done
    return 1
}
# A deposit of one unit-numbered amount; it is mined at once.
deposit() { "$EMAC" chain deposit "$1" --json >"$WORK/out" 2>"$WORK/err"; }

chain_anvil() {
    chain_up anvil --slots-in-an-epoch 64 # 128 blocks to finality
    "$EMAC" chain key --json >"$WORK/out"
    me=$(json .address)
    rpc anvil_setBalance "[\"$me\",\"0x56bc75e2d63100000\"]" >/dev/null
    mine 200
    check "deploy" "$EMAC" chain deploy --rpc "$RPC" --window 3600 --delay 3600
    mine 200
    up "$WORK/chain-net" 1 --chain "$EMAC_HOME/chain.json"
    check "followed to the start" followed
    sum=0
    for depth in 1 2 3 10 50 100; do
        before=$(rpc evm_snapshot '[]')
        check "a deposit that will be reorganised, $depth deep" deposit 1
        mine $((depth - 1))
        rpc evm_revert "[\"$before\"]" >/dev/null # its block and all on top are gone
        mine 130                                  # and others are in their place
        check "followed" followed
        same "depth $depth: what was reorganised away is not credited" "$sum" "$(held)"
        check "the same wallet deposits again" deposit 2
        sum=$((sum + 2000000000))
        mine 130
        check "followed" followed
        same "depth $depth: what stayed is credited once" "$sum" "$(held)"
    done

    # Blocks come by hand now: transactions wait, and can be lost or replaced.
    rpc evm_setAutomine '[false]' >/dev/null
    "$EMAC" chain deposit 3 --json >"$WORK/dropped.out" 2>"$WORK/dropped.err" &
    sender=$!
    for _ in $(seq 1 100); do
        [ "$(rpc txpool_content '[]' | jq '.pending | length')" != 0 ] && break
        sleep 0.1
    done
    hash=$(rpc txpool_content '[]' | jq -r '[.pending[][] | .hash][0]')
    rpc anvil_dropTransaction "[\"$hash\"]" >/dev/null
    for _ in $(seq 1 100); do
        [ "$(rpc txpool_content '[]' | jq '.pending | length')" != 0 ] && break
        sleep 0.1
    done
    same "a dropped transaction is sent again, the same one" "$hash" "$(rpc txpool_content '[]' | jq -r '[.pending[][] | .hash][0]')"
    mine 1
    check "and gets in" wait "$sender"
    sum=$((sum + 3000000000))

    # A base fee that passes what was offered: it is replaced under the same nonce.
    "$EMAC" chain deposit 4 --json >"$WORK/bumped.out" 2>"$WORK/bumped.err" &
    sender=$!
    for _ in $(seq 1 100); do
        [ "$(rpc txpool_content '[]' | jq '.pending | length')" != 0 ] && break
        sleep 0.1
    done
    first=$(rpc txpool_content '[]' | jq -r '[.pending[][] | .hash][0]')
    for _ in $(seq 1 12); do
        rpc anvil_setNextBlockBaseFeePerGas '["0x174876e800"]' >/dev/null
        mine 1
    done
    for _ in $(seq 1 100); do
        second=$(rpc txpool_content '[]' | jq -r '[.pending[][], .queued[][] | .hash] | last')
        [ "$second" != "$first" ] && [ "$second" != null ] && break
        sleep 0.1
    done
    check "one that waits too long is replaced" test "$second" != "$first"
    rpc evm_setAutomine '[true]' >/dev/null
    for _ in $(seq 1 20); do
        rpc anvil_setNextBlockBaseFeePerGas '["0x3b9aca00"]' >/dev/null
        mine 1
        kill -0 "$sender" 2>/dev/null || break
        sleep 0.2
    done
    check "a replaced transaction gets in" wait "$sender"
    sum=$((sum + 4000000000))
    mine 130
    check "followed" followed
    same "each is credited once" "$sum" "$(held)"

    # A second node on another fork: nothing is taken while they disagree.
    down
    other=$RPC
    top=$(height)
    chain_up other --slots-in-an-epoch 64
    mine $((top + 400)) # no less far than ours
    jq --arg a "$other" --arg b "$RPC" '.rpc = [$a, $b]' "$EMAC_HOME/chain.json" >"$WORK/two.json"
    RPC=$other
    mine 200
    up "$WORK/chain-net" 1 --chain "$WORK/two.json"
    for _ in $(seq 1 100); do [ "$(problem)" != "" ] && break; sleep 0.1; done
    expect "two nodes that disagree: said" 0 'no longer holds|disagree' problem
    same "and nothing is credited" "$sum" "$(held)"
    check "the audit holds" "$EMAC" ledger audit
    down
}
