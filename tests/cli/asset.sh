. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
up "$WORK/net" 2
owner=$WORK/owner user=$WORK/user third=$WORK/third
for home in "$owner" "$user" "$third"; do "$EMAC" wallet faucet --home "$home" -q >/dev/null; done
did() { "$EMAC" wallet show --json --home "$1" | jq -r .did; }
units() { "$EMAC" wallet show --json --home "$1" | jq -r .units; }
job() { sed "s|file: .*|$1|; s|^name: .*|name: $2|" "$ROOT/examples/tiny.yaml" >"$WORK/$2.yaml"; }

# ---- an owner publishes a text ----
expect "a list of nothing" 0 'is empty' "$EMAC" asset list
check "data into the depot" "$EMAC" data add "$WORK/text" --json --home "$owner" --url "$EMAC_URL"
text=$(json .cid)
licence() { printf 'asset: %s\nkind: %s\nname: %s\n' "$1" "$2" "$3"; cat; }
licence "$text" data words >"$WORK/l.yaml" <<END
price: {once: "3", train: "1000"}
share: 0.2
commercial: false
END
check "publish" "$EMAC" asset publish "$WORK/l.yaml" --json --home "$owner"
same "in force" active "$(json .state)"
expect "published by somebody else" 6 'published by' "$EMAC" asset publish "$WORK/l.yaml" --home "$user"
expect "an unknown field" 2 "unknown field 'colour'" sh -c "echo 'colour: red' >>'$WORK/l.yaml'; '$EMAC' asset publish '$WORK/l.yaml' --home '$owner'"
expect "what is not in the depot" 5 'not in the depot' sh -c "sed 's/^asset: .*/asset: bafybeihg4anoucrjm24jeyyuwjm6crtbjtkk3xlhiemcsz377mgubyehla/; /colour/d' '$WORK/l.yaml' >'$WORK/none.yaml'; '$EMAC' asset publish '$WORK/none.yaml' --home '$owner'"
check "list" "$EMAC" asset list --json
same "it is listed" "$text" "$(json '.assets[0].asset')"

# ---- its terms hold ----
job "cid: $text" first
expect "not for commerce" 3 'not for commercial use' "$EMAC" job submit "$WORK/first.yaml" --home "$user"
printf 'policy: {purpose: research}\n' >>"$WORK/first.yaml"
expect "not bought" 4 'must be bought' "$EMAC" job submit "$WORK/first.yaml" --home "$user"
check "buy" "$EMAC" asset buy "$text" --home "$user"
same "3 EMAC went over" "997000000000 1003000000000" "$(units "$user") $(units "$owner")"
check "buying again costs nothing" "$EMAC" asset buy "$text" --home "$user"
same "still 3" 997000000000 "$(units "$user")"
expect "a budget that royalties eat up" 4 'royalties' "$EMAC" job submit "$WORK/first.yaml" --home "$user"
sed 's/^budget: .*/budget: "20"/' "$WORK/first.yaml" >"$WORK/paid.yaml"
check "train" "$EMAC" job submit "$WORK/paid.yaml" --wait --json --home "$user"
model=$(json .model)
# 12 steps of 1024 tokens at 1000 EMAC a million
same "12.288 EMAC of royalty" 1015288000000 "$(units "$owner")"
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" true "$(json .ok)"

# ---- a model made from it earns, and shares ----
licence "$model" model child >"$WORK/m.yaml" <<END
price: {once: "10"}
END
expect "a model made by others" 3 'made by jobs of others' "$EMAC" asset publish "$WORK/m.yaml" --home "$third"
check "its maker publishes it" "$EMAC" asset publish "$WORK/m.yaml" --home "$user"
before=$(units "$user")
check "sold" "$EMAC" asset buy "$model" --home "$third"
same "a fifth of 10 flows up" "8000000000 1017288000000" "$(($(units "$user") - before)) $(units "$owner")"
check "lineage" "$EMAC" asset lineage "$model" --json
same "the child's parent" "$text 0.2" "$(json '.lineage.parents[0] | "\(.asset) \(.share)"')"
check "show" "$EMAC" asset show "$text" --json
same "income of the text" 17288000000 "$(json .income_units)"

# ---- a job that is cancelled pays for what it trained on ----
sed 's/steps: .*/steps: 600/; s/^budget: .*/budget: "700"/' "$WORK/paid.yaml" >"$WORK/long.yaml"
before=$(units "$owner")
check "a long job" "$EMAC" job submit "$WORK/long.yaml" --json --home "$user"
long=$(json .id)
for _ in $(seq 1 300); do [ "$("$EMAC" job show "$long" --json | jq .step)" -ge 3 ] && break; sleep 0.1; done
check "cancel" "$EMAC" job cancel "$long" --home "$user"
check "show it" "$EMAC" job show "$long" --json
same "1.024 EMAC a step" "$(($(json .step) * 1024000000))" "$(($(units "$owner") - before))"

# ---- revoked ----
expect "by a stranger" 3 'belongs to' "$EMAC" asset revoke "$text" --home "$user"
check "by its owner" "$EMAC" asset revoke "$text" --home "$owner"
sed 's/^seed: .*/seed: 2/' "$WORK/paid.yaml" >"$WORK/late.yaml"
expect "no further job" 3 'revoked' "$EMAC" job submit "$WORK/late.yaml" --home "$user"
check "audit at the end" "$EMAC" ledger audit --json
same "every invariant holds still" true "$(json .ok)"
down
expect "unknown action" 2 "unknown action 'rent'" "$EMAC" asset rent
expect "help" 0 'EMAC ASSET' "$EMAC" asset --help
finish
