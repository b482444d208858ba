. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
up "$WORK/net" 1 --serving metered
"$EMAC" wallet faucet -q
sed "s|file: .*|file: $WORK/text|; s|steps: .*|steps: 4|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" job submit "$WORK/job.yaml" --wait --json
model=$(json .model)
expect "no keys" 0 'you have no API keys' "$EMAC" key
check "new" "$EMAC" key new --limit 2 --name one --json
key=$(json .key) id=$(json .id)
same "its text" 69 "${#key}"
same "its limit" 2000000000 "$(json .limit_units)"
check "the text alone on stdout" sh -c "'$EMAC' key new --limit 0.0000001 --purpose research 2>/dev/null | grep -Ex 'emac-[0-9a-f]{64}' >'$WORK/small'"
ask() { curl -s -o "$WORK/out" -w '%{http_code}' "$EMAC_URL/v1/completions" -H "Authorization: Bearer $1" -d "{\"model\":\"$model\",\"prompt\":\"one and\",\"max_tokens\":$2,\"seed\":1}"; }
same "without a key" 401 "$(ask any 5)"
same "with one" 200 "$(ask "$key" 20)"
answer=$(json .id)
same "over its limit" 429 "$(ask "$(cat "$WORK/small")" 60000)"
same "says so" true "$(json '.error.message | contains("insufficient_quota")')"
check "usage" "$EMAC" key usage "$id" --json
same "the answer is in it" "$answer settled 7 20" "$(json '.usage[0] | "\(.id) \(.state) \(.prompt_tokens) \(.completion_tokens)"')"
same "what it cost is what the key spent" "$(json .key.spent_units)" "$(json '.usage[0].units')"
same "and more than nothing" true "$(json '(.key.spent_units | tonumber) > 0')"
check "list" "$EMAC" key list --json
same "two keys" 2 "$(json '.keys | length')"
expect "of others" 5 'you have no API key' "$EMAC" key usage "$id" --home "$WORK/other"
expect "revoke by others" 5 'you have no API key' "$EMAC" key revoke "$id" --home "$WORK/other"
check "revoke" "$EMAC" key revoke "$id"
same "revoked" 401 "$(ask "$key" 5)"
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" true "$(json .ok)"
down
expect "not an id" 2 'not the id' "$EMAC" key revoke x
expect "not an amount" 2 'limit' "$EMAC" key new --limit much
expect "unknown mode" 2 'free or metered' "$EMAC" coordinator --serving maybe
expect "unknown action" 2 "unknown action 'lend'" "$EMAC" key lend
expect "help" 0 'EMAC KEY' "$EMAC" key --help
finish
