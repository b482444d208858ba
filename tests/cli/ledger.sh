. "$(dirname "$0")/../lib.sh"
expect "no coordinator: says where it looked" 13 '127\.0\.0\.1:9' "$EMAC" ledger audit --url http://127.0.0.1:9
up "$WORK/net" 1
check "faucet" "$EMAC" wallet faucet
check "balance" "$EMAC" wallet show --json
same "1000 EMAC" 1000000000000 "$(json .units)"
check "faucet again is harmless" "$EMAC" wallet faucet
check "balance again" "$EMAC" wallet show --json
same "still 1000 EMAC" 1000000000000 "$(json .units)"
check "balances" "$EMAC" ledger balances --json
same "balances sum to zero" 0 "$(json '[.balances[].units | tonumber] | add')"
check "journal" "$EMAC" ledger journal --json
check "audit" "$EMAC" ledger audit --json
same "audit holds" true "$(json .ok)"
expect "the secrets are not told at once" 13 'one to two epochs' "$EMAC" ledger checks
expect "nor one of the future" 13 'epoch 9 is not told yet' "$EMAC" ledger checks --epoch 9
expect "no such epoch" 5 "no epoch '99999'" "$EMAC" ledger checks --epoch 99999
down
expect "unknown action" 2 "unknown action 'burn'" "$EMAC" ledger burn
expect "help" 0 'EMAC LEDGER' "$EMAC" ledger --help
finish
