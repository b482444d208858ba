# Private data: sealed at home, granted, trained on by rigs that never have the plaintext on their disks;
# and the same bits as from the plaintext.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
job() { sed "s|file: .*|$1|; s|^name: .*|name: $2|; s|steps: .*|steps: 4|" "$ROOT/examples/tiny.yaml" >"$WORK/$2.yaml"; }
job "file: $WORK/text" plain
check "train on the plaintext" "$EMAC" train "$WORK/plain.yaml" --local --json --home "$WORK/elsewhere"
plain=$(json .params)
check "seal" "$EMAC" data add "$WORK/text" --private --json
sealed=$(json .cid)
check "once more" "$EMAC" data add "$WORK/text" --private --json
same "no two are alike" different "$([ "$sealed" = "$(json .cid)" ] && echo alike || echo different)"
same "its key is for its owner's eyes" 600 "$(stat -c %a "$EMAC_HOME/private/$sealed")"
check "open it" "$EMAC" data get "$sealed" -o "$WORK/back"
same "as it was" "$(sha256sum <"$WORK/text")" "$(sha256sum <"$WORK/back")"
job "cid: $sealed" secret
check "train on it in one process" "$EMAC" train "$WORK/secret.yaml" --local --json
same "the same bits" "$plain" "$(json .params)"

# ---- records ----
images "$WORK/images"
for how in '' --private; do
    check "import $how" images_import "$WORK/images" --classes a,b,c,d $how --json
    cat >"$WORK/clothes$how.yaml" <<END
name: quarters
model: {architecture: mlp, layers: 1, hidden_size: 8}
data: {cid: $(json .cid)}
recipe: {micro_batch: 8, micro_batches: 2, steps: 4, lr: 0.01, checkpoint_every: 4}
END
    check "train on records $how" "$EMAC" train "$WORK/clothes$how.yaml" --local --json
    [ -n "$how" ] || records=$(json .params)
done
same "sealed records give the same bits" "$records" "$(json .params)"

# ---- a network ----
up "$WORK/net" 2
"$EMAC" wallet faucet -q
expect "its key is not granted" 5 'not granted' "$EMAC" job submit "$WORK/secret.yaml"
check "list" "$EMAC" data keys --json
same "says so" "not granted" "$(json ".keys[] | select(.cid == \"$sealed\").state")"
check "grant it" "$EMAC" data keys grant "$sealed"
expect "another has nothing to grant" 5 'not here' "$EMAC" data keys grant "$sealed" --home "$WORK/other"
check "train on the network" "$EMAC" job submit "$WORK/secret.yaml" --wait --json
same "the same bits there" "$plain" "$(json .params)"
id=$(json .id)
check "the owner can audit it" "$EMAC" job audit "$id" --sample 1000 --json
same "all of it" "true 0 0" "$(json '"\(.equal == .sample and .sample > 4) \(.unchecked) \(.wrong | length)"')"
grad=$(curl -s "$EMAC_URL/v1/jobs/$id/receipts?limit=1000" | jq -r '[.receipts[] | select(.slot | startswith("grad"))][0].receipt')
expect "one result of it" 0 'equal ' "$EMAC" verify "$grad"
expect "another cannot check it" 3 'only the owner of what it was computed on' "$EMAC" verify "$grad" --home "$WORK/other"
expect "nor audit the job" 0 'private data or models: their owner can audit' "$EMAC" job audit "$id" --sample 1000 --home "$WORK/other"
same "whose first weights rest on no data" true "$("$EMAC" job audit "$id" --sample 1000 --home "$WORK/other" --json 2>/dev/null | jq '.private == .unchecked and .equal >= 1 and .equal < .sample')"
words=$(head -c 40 "$WORK/text")
check "a search finds the plaintext at home" grep -rqF "$words" "$WORK/text"
check "and on no disk of the network" sh -c "! grep -rqF '$words' '$WORK/net'"
expect "others who fetch it cannot open it" 3 'its key is not here' "$EMAC" data get "$sealed" -o "$WORK/stolen" --home "$WORK/other"
check "take it back" "$EMAC" data keys revoke "$sealed"
expect "no further job" 5 'not granted' "$EMAC" job submit "$WORK/secret.yaml"
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" true "$(json .ok)"
down

finish

