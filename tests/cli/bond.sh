. "$(dirname "$0")/../lib.sh"
up "$WORK/net" 1
check "the rig joins" until_admitted 1
rig=$(curl -s "$EMAC_URL/v1/status" | jq -r '.nodes[0].did')
expect "no money, no bond" 4 'needs 5: add to it first' "$EMAC" bond put 5 --did "$rig"
check "faucet" "$EMAC" wallet faucet
check "a bond for a rig" "$EMAC" bond put 5 --did "$rig" --json
same "of that size" 5000000000 "$(json '.bonds[0].units')"
check "more of it" "$EMAC" bond put 0.5 --did "$rig" --json
same "adds up" 5500000000 "$(json '.bonds[0].units')"
check "list" "$EMAC" bond list --did "$rig"
expect "and says whose it is" 0 "5\.5 +$rig, from user:did:key:" "$EMAC" bond
check "return" "$EMAC" bond return --did "$rig"
expect "a bond of nothing" 2 'is none' "$EMAC" bond put 0
expect "not an amount" 2 'much' "$EMAC" bond put much
expect "put without one" 2 'takes an amount' "$EMAC" bond put
expect "no DID" 2 'is no did:key' "$EMAC" bond put 1 --did me
expect "nothing to return" 5 'has no bond' "$EMAC" bond return
expect "no rig there" 5 'node\.key' "$EMAC" bond put 1 --node-dir "$WORK/nowhere"
expect "another's earnings" 3 'that rig alone' "$EMAC" bond put 1 --node-dir "$WORK/net/node-1" --did "$(json .did 2>/dev/null; "$EMAC" wallet show --json | jq -r .did)"
expect "unknown action" 2 "unknown action 'melt'" "$EMAC" bond melt
expect "that has an amount" 2 "unknown action 'melt'" "$EMAC" bond melt 5
check "audit" "$EMAC" ledger audit
expect "help" 0 'EMAC BOND' "$EMAC" bond --help
down
finish
