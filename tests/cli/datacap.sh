. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
did() { "$EMAC" wallet show --json --home "$WORK/$1" 2>/dev/null | tail -n 1 | jq -r .did; }
as() { who=$1; shift; "$EMAC" datacap "$@" --home "$WORK/$who"; }
for who in n1 n2 n3 owner; do did $who >"$WORK/$who.did"; done
client=$(cat "$WORK/owner.did")
cat >"$WORK/rules" <<END
network: test
notaries: [$(cat "$WORK/n1.did"), $(cat "$WORK/n2.did"), $(cat "$WORK/n3.did")]
quorum: 2
lifetime: 365
term: 2
reward: {from: $client, pool: "10", rate: "0.0001"}
fee_ppm: 100000
growth: {owners: 2, window: 30}
END
sed 's/quorum: 2/quorum: 4/' "$WORK/rules" >"$WORK/bad"
expect "a quorum of more than there are" 2 "'quorum' must be" "$EMAC" coordinator --dir "$WORK/c0" --port 0 --datacap "$WORK/bad"
expect "rules that are not there" '[0-9]+' 'nowhere' "$EMAC" coordinator --dir "$WORK/c0" --port 0 --datacap "$WORK/nowhere"

# ---- a network that values data ----
: >"$WORK/co.out"
bg "$EMAC" coordinator --dir "$WORK/c" --port 0 --dev --deal-epoch 1 --datacap "$WORK/rules" >"$WORK/co.out" 2>"$WORK/co.err"
coordinator=$BG
url_from "$WORK/co.out" "$coordinator"
expect "nobody has voted" 0 'no notary' "$EMAC" datacap
check "a notary" as n1 grant "$client" 2G --application weather --json
same "one is not enough" "open 1" "$(json '"\(.outcome) \(.votes)"')"
check "another, with another amount" as n2 grant "$client" 3G --application weather --json
same "they disagree" open "$(json .outcome)"
check "a third" as n3 grant "$client" 3G --application weather --json
same "granted, once" "passed 3221225472" "$(json '"\(.outcome) \(.bytes)"')"
allowance=$(json .motion)
expect "a fourth word is too late" 6 'is passed' as n1 grant "$client" 3G --application weather
expect "no notary" 3 'is no notary' as owner grant "$client" 3G --application more
expect "no bytes" 2 'takes a client and bytes' as n1 grant "$client" --application more
expect "no application" 2 'application must be given' as n1 grant "$client" 1G
expect "too many bytes" 2 'bytes from 1 to 1P' as n1 grant "$client" 2P --application more
expect "no number" 2 'bytes from 1 to 1P' as n1 grant "$client" 5x --application more
expect "no client" 2 'did:key' as n1 grant nobody 1G --application more
expect "against, and yet so much" 2 'names no bytes' as n1 grant "$client" 1G --refuse --application more
check "show" as owner show --json
same "what is left" "notaries 3221225472" "$(json '.allowances[0] | "\(.origin) \(.left_bytes)"')"
expect "a list" 0 'grant +passed' "$EMAC" datacap list
expect "a deal that is not there" 5 'deal' as owner use deal-0123456789abcdef
expect "an epoch that has not been" 5 'no reward yet' "$EMAC" datacap epoch 7
expect "no epoch" 2 'no number of an epoch' "$EMAC" datacap epoch seven
check "one would remove it" as n1 remove "$client" "$allowance" --json
same "one is not enough for that" open "$(json .outcome)"
check "two would" as n2 remove "$client" "$allowance" --json
same "it is gone" "passed 3221225472" "$(json '"\(.outcome) \(.bytes)"')"
expect "what is not there is not removed" 5 'no allowance' as n1 remove "$client" nothing

# ---- the fee, and use that others pay for ----
for who in u1 u2 owner; do "$EMAC" wallet faucet --home "$WORK/$who" -q >/dev/null; done
check "data into the depot" "$EMAC" data add "$WORK/text" --json --home "$WORK/owner" --url "$EMAC_URL"
text=$(json .cid)
printf 'asset: %s\nkind: data\nname: words\n' "$text" >"$WORK/l.yaml"
check "publish" "$EMAC" asset publish "$WORK/l.yaml" --home "$WORK/owner"
for i in 1 2; do
    bg "$EMAC" node --name "rig$i" --home "$WORK/rig$i" --port 0 --threads 1 --offer-mb 64 >"$WORK/rig$i.out" 2>&1
done
for i in 1 2; do
    sed "s|file: .*|cid: $text|; s|^name: .*|name: job$i|; s|^seed: .*|seed: $i|" \
        "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
    printf 'policy: {check: 1}\n' >>"$WORK/job.yaml"
    check "job $i is paid for" "$EMAC" job submit "$WORK/job.yaml" --wait --json --home "$WORK/u$i"
done
"$EMAC" ledger balances --prefix rig: --json >"$WORK/out"
rigs=$(json '[.balances[].units | tonumber] | add')
"$EMAC" ledger balances --prefix fee --json >"$WORK/out"
fee=$(json '.balances[0].units | tonumber')
# 10 %, rounded up for each rig and job
if [ $((fee * 9)) -ge "$rigs" ] && [ $((fee * 9)) -le $((rigs + 40)) ]; then
    pass "a tenth is the network's"
else
    fail "a tenth is the network's" "fee $fee, rigs $rigs"
fi
# until NAME FILTER COMMAND...: wait until the command's JSON says true.
until_true() {
    name=$1 filter=$2
    shift 2
    for _ in $(seq 1 300); do
        "$@" --json >"$WORK/out" 2>"$WORK/err"
        [ "$(json "$filter" 2>/dev/null)" = true ] && { pass "$name"; return; }
        sleep 0.1
    done
    fail "$name" "$(tail -c 400 "$WORK/out")" "$(tail -n 3 "$WORK/co.err")"
}
until_true "the allowance grew by what others paid" '[.allowances[] | select(.origin == "use")] | length > 0' as owner show

# ---- a deal under an allowance ----
check "granted again" as n1 grant "$client" 1G --application more
check "by two" as n3 grant "$client" 1G --application more
check "make a deal" "$EMAC" deal make "$text" --price 10 --epochs 100 --replicas 2 --json --home "$WORK/owner"
deal=$(json .id)
expect "of another" 3 'is of client' as n1 use "$deal"
check "use" as owner use "$deal" --json
bound=$(json .bound_bytes)
expect "once a deal" 6 'was bound' as owner use "$deal"
until_true "rigs are rewarded for their proofs" '[.journal[] | select(.cause == "reward" and (.account | startswith("rig:")))] | length > 0' "$EMAC" ledger journal
key=$(json '[.journal[] | select(.cause == "reward")][0].key')
epoch=${key#reward:}
check "who got what" "$EMAC" datacap epoch "${epoch%%:*}" --json
same "it counts ten times" 10 "$(json '.rewards[0] | .weighted_bytes / .bytes')"
same "the parts are the whole" true "$(json '([.rewards[].units | tonumber] | add) + (.dust_units | tonumber) == (.units | tonumber)')"
check "cancel" "$EMAC" deal cancel "$deal" --home "$WORK/owner"
until_true "what the deal had bound is burnt" "([.allowances[].bound_bytes] | add) == 0 and ([.allowances[].burnt_bytes] | add) == 3221225472 + $bound" as owner show
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" "true 0" "$(json '"\(.ok) \(.total_bytes)"')"
kill -TERM "$coordinator" && wait "$coordinator"
same "use of both is noted" 2 "$(sqlite3 "$WORK/c/coordinator.db" 'SELECT COUNT(*) FROM datacap_use')"
# ---- the chain's registry, as far as it needs no chain: tests/interop/chain_anvil.sh has the rest ----
wallet=$("$EMAC" chain key --json | jq -r .address)
votes() { as n1 grant "$client" 1G --registry --application weather "$@"; }
expect "no chain" 5 'no chain is configured' votes --wallet "$wallet"
expect "a grant is spent by a wallet" 2 "'' is no address" votes
expect "a wallet that is none" 2 'no address' votes --wallet 0x12
expect "a client that is none" 2 'no did:key of a client' as n1 grant me 1G --registry --application weather --wallet "$wallet"
expect "also who refuses names the bytes" 2 'takes a client and bytes' as n1 grant "$client" --registry --refuse --application weather --wallet "$wallet"
expect "not an allowance of a registry" 2 'no allowance of a registry' as n1 remove "$client" "$allowance" --registry
expect "a notary of the rules" 2 'rules of the coordinator' as n1 notary "$wallet"
expect "a notary that is no wallet" 2 'no address' as n1 notary "$client" --registry
expect "a wallet over HTTP" 2 'go with --registry' as n1 grant "$client" 1G --application weather --wallet "$wallet"
expect "unknown action" 2 "unknown action 'buy'" "$EMAC" datacap buy
expect "help" 0 'EMAC DATACAP' "$EMAC" datacap --help
finish
