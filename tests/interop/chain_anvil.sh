# chain_anvil.sh: a coordinator that follows a real EVM (anvil) through reorganisations of depth 1 to
# 100, dropped, replaced and repeated transactions, and two nodes that disagree; and a network whose
# data of value are granted in the chain's registry. Used by tests/interop/run, which sets ANVIL and
# sources lib.sh.
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

# ---- data of value: the registry's events are the ledger's only source of allowances ----

# as NAME COMMAND...: with that person's keys.
as() {
    who=$1
    shift
    EMAC_HOME=$WORK/$who "$EMAC" "$@"
}
# Of the client's allowances on the ledger, the sums: how many, granted, left, bound, burnt.
allowances() {
    curl -s "$EMAC_URL/v1/datacap/allowances?client=$CLIENT" |
        jq -r '.allowances | [length, ([.[].granted_bytes] | add // 0), ([.[].left_bytes] | add // 0),
            ([.[].bound_bytes] | add // 0), ([.[].burnt_bytes] | add // 0)] | map(tostring) | join(" ")'
}
grants() { as "$1" datacap grant "$CLIENT" "$2" --registry --wallet "$WALLET" --application "$3" --json; }
# final: all that happened so far becomes final, and the ledger follows.
final() { mine 130 && followed; }

datacap_people() {
    for who in n1 n2 n3 client; do
        as $who chain key --json >"$WORK/out"
        eval "$who=$(json .address)"
        rpc anvil_setBalance "[\"$(json .address)\",\"0x56bc75e2d63100000\"]" >/dev/null
    done
    WALLET=$client
    CLIENT=$(as client wallet show --json 2>/dev/null | tail -n 1 | jq -r .did)
    as n1 wallet show >/dev/null 2>&1
    check "deploy with two notaries" as n1 chain deploy --rpc "$RPC" --window 3600 --delay 3600 --notaries "$n1,$n2" --quorum 2
    for who in n2 n3 client; do cp "$WORK/n1/chain.json" "$WORK/$who/"; done
    mine 200
    cat >"$WORK/rules" <<END
network: test
notaries: []
quorum: 0
lifetime: 365
term: 100
reward: {from: $CLIENT, pool: "10", rate: "100"}
fee_ppm: 0
growth: {owners: 2, window: 30}
END
}

datacap_network() {
    : >"$WORK/co.out"
    "$EMAC" coordinator --dir "$WORK/value" --port 0 --dev --deal-epoch 1 --datacap "$WORK/rules" \
        --chain "$WORK/n1/chain.json" >"$WORK/co.out" 2>"$WORK/co.err" &
    UP_PID=$!
    url_from "$WORK/co.out" "$UP_PID"
    check "followed to the start" followed
}

# A vote, or a spend, that a reorganisation takes away was never on the ledger.
datacap_grants() {
    for depth in 1 50; do
        same "depth $depth: a first vote decides nothing" open "$(grants n1 4K "try $depth" 2>/dev/null | tail -n 1 | jq -r .outcome)"
        before=$(rpc evm_snapshot '[]')
        was=$(allowances)
        same "depth $depth: the second passes it" passed "$(grants n2 4K "try $depth" 2>/dev/null | tail -n 1 | jq -r .outcome)"
        mine $((depth - 1))
        rpc evm_revert "[\"$before\"]" >/dev/null
        check "followed" final
        same "depth $depth: a grant that was reorganised away is none" "$was" "$(allowances)"
        check "the notary votes again" grants n2 4K "try $depth"
        same "depth $depth: not before it is final" "$was" "$(allowances)"
        check "followed" final
    done
    same "each grant is on the ledger once" "2 8192 8192 0 0" "$(allowances)"
    expect "a notary votes once" '[0-9]+' 'AlreadyDecided|AlreadyVoted' grants n1 4K "try 1"
    expect "no notary" '[0-9]+' 'AccessControl' grants n3 4K more
    check "the admin names one" as n1 datacap notary "$n3" --registry
    check "who votes now" grants n3 4K more
    check "and is dismissed" as n1 datacap notary "$n3" --registry --refuse
    same "his vote counts no more" open "$(grants n1 4K more 2>/dev/null | tail -n 1 | jq -r .outcome)"
    same "two other notaries are enough" passed "$(grants n2 4K more 2>/dev/null | tail -n 1 | jq -r .outcome)"
    check "followed" final
    same "a third allowance" "3 12288 12288 0 0" "$(allowances)"
    expect "a vote over HTTP" 3 "granted by the chain's registry" as n1 datacap grant "$CLIENT" 1G --application http
}

datacap_spends() {
    head -c 700 /dev/urandom >"$WORK/value.data"
    check "the client deposits" as n1 chain deposit 20 --account "$CLIENT"
    check "followed" final
    bg "$EMAC" node --dir "$WORK/keeper" --name keeper --threads 1 --offer-mb 64 >"$WORK/keeper.out" 2>&1
    check "data" as client data add "$WORK/value.data" --json
    check "a deal" as client deal make "$(json .cid)" --price 1000 --epochs 1000 --replicas 1 --json
    deal=$(json .id)
    expect "another wallet" 3 'by wallet' as n1 datacap use "$deal" --registry
    before=$(rpc evm_snapshot '[]')
    check "the client's wallet spends" as client datacap use "$deal" --registry --json
    mine 9
    rpc evm_revert "[\"$before\"]" >/dev/null
    check "followed" final
    same "a spend that was reorganised away is none" "3 12288 12288 0 0" "$(allowances)"
    check "it spends again" as client datacap use "$deal" --registry --json
    bytes=$(json .bound_bytes) spent=$(json .allowance)
    check "followed" final
    same "once" "3 12288 $((12288 - bytes)) $bytes 0" "$(allowances)"
    expect "a deal is spent on once" '[0-9]+' 'DealUsed' as client datacap use "$deal" --registry
    for _ in $(seq 1 300); do
        epoch=$("$EMAC" ledger journal --json | tail -n 1 | jq -r '[.journal[] | select(.cause == "reward" and (.account | startswith("rig:")))] | last | .key // empty' | cut -d: -f2)
        "$EMAC" datacap epoch "${epoch:-0}" --json >"$WORK/out" 2>/dev/null && [ "$(json '.rewards[0] | .weighted_bytes / .bytes')" = 10 ] && break
        sleep 0.1
    done
    same "its bytes count ten times" 10 "$(json '.rewards[0] | .weighted_bytes / .bytes')"
    for who in n1 n2; do check "a vote to remove the rest" as $who datacap remove "$CLIENT" "$spent" --registry; done
    check "followed" final
    same "what was left of it is burnt" "3 12288 8192 $bytes $((4096 - bytes))" "$(allowances)"
}

chain_datacap() {
    chain_up value --slots-in-an-epoch 64
    mine 200
    datacap_people
    datacap_network
    datacap_grants
    datacap_spends
    was=$(allowances)
    kill -9 "$UP_PID"
    wait "$UP_PID" 2>/dev/null
    datacap_network
    same "after a crash the same allowances" "$was" "$(allowances)"
    same "no problem is said" none "none$(problem)"
    check "the audit holds" "$EMAC" ledger audit
    down
}
