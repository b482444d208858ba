. "$(dirname "$0")/../lib.sh"
# Without a chain: what it says. With one: tests/e2e/demo-chain.sh (make demo-chain).
check "key makes a key" "$EMAC" chain key --json
address=$(json .address)
expect "the key file is private" 0 '600' stat -c %a "$EMAC_HOME/evm.key"
check "key again" "$EMAC" chain key --json
same "the same key" "$address" "$(json .address)"
printf '%064d\n' 1 >"$WORK/one.key"
check "a key of one's own" "$EMAC" chain key --evm-key "$WORK/one.key" --json
same "its address" 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf "$(json .address)"
printf '%064d\n' 0 >"$WORK/zero.key"
expect "zero is no key" 7 'no secp256k1 key' "$EMAC" chain key --evm-key "$WORK/zero.key"
printf 'nonsense\n' >"$WORK/bad.key"
expect "a broken key file" 7 'not a key file' "$EMAC" chain key --evm-key "$WORK/bad.key"
for action in status settle claim bind withdraw 'deposit 1'; do
    "$EMAC" wallet show >/dev/null 2>&1 # bind needs an ed25519 key
    # shellcheck disable=SC2086
    expect "$action without a chain" 5 'no chain is configured.*chain\.json.*deploy' "$EMAC" chain $action
done
expect "deploy without a node" 2 '\-\-rpc' "$EMAC" chain deploy
expect "deploy at nothing" 13 '127\.0\.0\.1:9' "$EMAC" chain deploy --rpc http://127.0.0.1:9
expect "deploy at no URL" 2 'URL' "$EMAC" chain deploy --rpc node:8545
expect "deploy with a short window" 2 'window' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --window 60
expect "deploy with a bad token" 2 'no address' "$EMAC" chain deploy --rpc http://127.0.0.1:9 \
    --token 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92267
expect "deploy with a bad supply" 2 'not an amount' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --supply 1.0000000001
expect "deploy with a notary that is none" 2 'no address' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --notaries "$address,me"
expect "deploy with a quorum of more than there are" 2 'quorum' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --notaries "$address" --quorum 2
expect "deploy with no quorum" 2 'quorum' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --quorum 0
expect "deploy with allowances for ever" 2 'datacap-days' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --datacap-days 1826
printf '{}' >"$WORK/chain.json"
expect "deploy over a chain.json" 6 'there already' "$EMAC" chain deploy --rpc http://127.0.0.1:9 --out "$WORK/chain.json"
expect "an empty chain.json" 2 "'token' is missing" "$EMAC" chain status --chain "$WORK/chain.json"
cat >"$WORK/chain.json" <<END
{"chain_id": 314159, "rpc": ["http://127.0.0.1:9"], "confirmations": 0, "least_units": "1",
 "token": "$address", "vault": "$address", "bindings": "$address", "payouts": "$address",
 "assets": "$address", "datacap": "$address", "operator": "$("$EMAC" wallet show --json 2>/dev/null | jq -r .did)",
 "start": {"number": 1, "hash": "0x$(printf '%064d' 5)"}}
END
expect "a node that is away" 13 'eth_chainId.*127\.0\.0\.1:9' "$EMAC" chain status --chain "$WORK/chain.json"
for change in '.chain_id=0' '.chain_id="1"' '.rpc=[]' '.rpc=["a","b","c","d","e"]' '.vault="0x12"' '.start.hash="0x"' \
    '.start.more=1' '.operator="me"' '.least_units="-1"' '.least_units=1' '.more=1' 'del(.payouts)'; do
    jq "$change" "$WORK/chain.json" >"$WORK/bad.json"
    expect "chain.json with $change" 2 'bad\.json' "$EMAC" chain status --chain "$WORK/bad.json"
done
expect "an amount of nothing" 2 'moves nothing' "$EMAC" chain deposit 0 --chain "$WORK/chain.json"
expect "an amount with dust" 2 'not an amount' "$EMAC" chain deposit 0.0000000001 --chain "$WORK/chain.json"
expect "deposit without an amount" 2 'how much' "$EMAC" chain deposit
expect "claim with an amount" 2 'takes no amount' "$EMAC" chain claim 5
expect "no account" 2 'no account' "$EMAC" chain claim --account did:web:x --chain "$WORK/chain.json"
expect "confirm nothing" 2 'confirm' "$EMAC" chain status --confirm 0 --chain "$WORK/chain.json"
expect "unknown action" 2 "unknown action 'print'" "$EMAC" chain print
expect "a coordinator with a bad chain.json" 2 'bad\.json' "$EMAC" coordinator --dir "$WORK/c" --port 0 --chain "$WORK/bad.json"
# A chain that is away does not keep the ledger from working; what is wrong is said.
up "$WORK/net" 1 --chain "$WORK/chain.json"
for _ in $(seq 1 100); do curl -s "$EMAC_URL/v1/chain" | grep -q '127.0.0.1:9' && break; sleep 0.1; done
expect "the coordinator says what is wrong" 0 '"problem": *"[^"]*127\.0\.0\.1:9' curl -s "$EMAC_URL/v1/chain"
expect "no faucet beside a chain" 3 'emac chain deposit' "$EMAC" wallet faucet
expect "an epoch that is not there" 0 'no epoch 3' curl -s "$EMAC_URL/v1/chain/epochs/3"
expect "an epoch that is none" 0 'no number' curl -s "$EMAC_URL/v1/chain/epochs/x"
check "the audit holds" "$EMAC" ledger audit
down
up "$WORK/plain" 1
expect "a coordinator without a chain" 0 'settles on no chain' curl -s "$EMAC_URL/v1/chain"
check "play money there" "$EMAC" wallet faucet
down
expect "play money cannot become a chain's" 6 'play money' "$EMAC" coordinator --dir "$WORK/plain/coordinator" --port 0 --chain "$WORK/chain.json"
expect "help" 0 'EMAC CHAIN' "$EMAC" chain --help
finish
