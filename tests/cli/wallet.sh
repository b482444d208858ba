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
# What all commands share.
expect "help of what is not there" 2 "unknown command 'melt'" "$EMAC" help melt
expect "an argument that is not UTF-8" 2 "argument 1, 'caf\\?', is not UTF-8" "$EMAC" wallet "$(printf 'caf\351')"
expect "a number below zero" 2 "'-3' is no option, and no number is negative" "$EMAC" bond put -3
expect "a number that is none" 2 "'--limit  7' is not a whole number" "$EMAC" ledger --limit ' 7'
expect "a disk that is full" 15 "cannot write 'standard output': No space" sh -c '"$0" train --help >/dev/full' "$EMAC"
expect "and with a result" 15 "cannot write 'standard output': No space" sh -c '"$0" data add "$1" --json >/dev/full' "$EMAC" "$0"
expect "no standard output at all" 11 "cannot write 'standard output'" sh -c '"$0" data add "$1" >&-' "$EMAC" "$0"
expect "a reader that has seen enough" 0 '^0$' sh -c '{ "$0" train --help; echo $? >&2; } | head -n 1' "$EMAC"
printf '\033[2J\377' >"$WORK/odd"
expect "a sentence that quotes what it was given" 2 "' \[2J\\?' is not CID" "$EMAC" data shards "$WORK/odd"
"$EMAC" data shards "$WORK/odd" --json >"$WORK/out" 2>/dev/null
same "is JSON, too" invalid "$(json .error.code)"
finish
