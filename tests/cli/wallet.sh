. "$(dirname "$0")/../lib.sh"
check "new makes a key" "$EMAC" wallet new --json
did=$(json .did)
expect "the key file is private" 0 '600' stat -c %a "$EMAC_HOME/wallet.key"
expect "new again is refused, naming the file" 6 'wallet\.key' "$EMAC" wallet new
check "show works without a coordinator" "$EMAC" wallet show --json
same "show names the same key" "$did" "$(json .did)"
same "the balance is unknown then" null "$(json .units)"
printf 'nonsense\n' >"$EMAC_HOME/wallet.key"
expect "a broken key file is named" 7 'not a key file' "$EMAC" wallet show
expect "unknown action" 2 "unknown action 'melt'" "$EMAC" wallet melt
expect "help" 0 'EMAC WALLET' "$EMAC" wallet --help
finish
