# A private model: its weights sealed at home; evaluated, adapted and served by rigs that never have them on their disks,
# with the bits of the plain model; by its owner, and by others as far as his licence goes. And a private token set.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 3000
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d times %d is %d.\n", i % 9, i % 7, (i % 9) * (i % 7) }' >"$WORK/other"
sed "s|file: .*|file: $WORK/text|; s|steps: .*|steps: 4|" "$ROOT/examples/tiny.yaml" >"$WORK/base.yaml"
OPEN=$WORK/open OTHER=$WORK/stranger
check "a model" "$EMAC" train "$WORK/base.yaml" --local --json --home "$OPEN"
plain=$(json .model)
check "as a directory" "$EMAC" model export "$plain" "$WORK/model" --home "$OPEN"
check "seal it" "$EMAC" model import "$WORK/model" --private --json
sealed=$(json .cid)
check "once more" "$EMAC" model import "$WORK/model" --private --json
same "no two are alike" different "$([ "$sealed" = "$(json .cid)" ] && echo alike || echo different)"
check "a model in parts" "$EMAC" model export "$plain" "$WORK/parts" --part-size 20K --home "$OPEN"
check "is sealed as one file" "$EMAC" model import "$WORK/parts" --private --json
whole=$(json .cid)
check "which opens" "$EMAC" model export "$whole" "$WORK/joined"
same "as the parts were" "$(sha256sum <"$WORK/model/model.safetensors")" "$(sha256sum <"$WORK/joined/model.safetensors")"
expect "into one file" "2|12" 'exported as one file' "$EMAC" model export "$whole" "$WORK/cut" --part-size 20K
expect "a file is imported first" 2 'import of a directory' "$EMAC" model import "$WORK/x.gguf" "$WORK/x" --private
check "export it again" "$EMAC" model export "$sealed" "$WORK/back"
same "as it was" "$(sha256sum <"$WORK/model/model.safetensors")" "$(sha256sum <"$WORK/back/model.safetensors")"
check "it speaks here" "$EMAC" generate "$sealed" -p "one and" -n 20 -t 0 --json
said=$(json .text)
check "as the plain one does" "$EMAC" generate "$WORK/model" -p "one and" -n 20 -t 0 --json
same "the same text" "$said" "$(json .text)"

job() { # name, base, its section
    cat >"$WORK/$1.yaml" <<YAML
name: $1
base: {cid: $2, $3}
data: {file: $WORK/other, heldout: 0.1}
recipe: {seq_len: 48, micro_batch: 2, micro_batches: 4, steps: 3, lr: 0.01, checkpoint_every: 3, eval_batches: 4}
budget: "1"
YAML
}
job lora-plain "$plain" 'train: lora, rank: 4'
job lora "$sealed" 'train: lora, rank: 4'
job apart "$sealed" 'train: lora'
echo 'spread: {kind: local, replicas: 2, inner_steps: 2}' >>"$WORK/apart.yaml"
check "an adapter on the plain model" "$EMAC" train "$WORK/lora-plain.yaml" --local --json --home "$OPEN"
params=$(json .params)
check "on the private one" "$EMAC" train "$WORK/lora.yaml" --local --json
same "the same bits" "$params" "$(json .params)"
adapter=$(json .model)
if has_opencl; then
    check "on a device of its own" "$EMAC" train "$WORK/lora.yaml" --local --restart --json --device opencl:0
    same "the same bits there" "$params" "$(json .params)"
fi
check "by replicas" "$EMAC" train "$WORK/apart.yaml" --local --json
apart=$(json .params)
check "evaluate the plain model" "$EMAC" eval "$plain" "$WORK/other" --local --json --home "$OPEN"
bits=$(json .loss_bits_per_byte)
check "the private one" "$EMAC" eval "$sealed" "$WORK/other" --local --json
same "the same score" "$bits" "$(json .loss_bits_per_byte)"
check "the adapter on it" "$EMAC" eval "$adapter" "$WORK/other" --local --json
adapted=$(json .loss_bits_per_byte)
check "an adapter may be private itself" "$EMAC" model export "$adapter" "$WORK/adapter"
check "on the private model" "$EMAC" model import "$WORK/adapter" --base "$sealed" --private --json
hidden=$(json .cid)
check "it is evaluated" "$EMAC" eval "$hidden" "$WORK/other" --local --json
same "as the open one" "$adapted" "$(json .loss_bits_per_byte)"

# ---- tokens ----
check "a tokenizer" "$EMAC" tokenizer train "$WORK/text" --vocab 300 --out "$WORK/words" --json
check "cut a text" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/words" --json --home "$OPEN"
tokens=$(json .cid)
check "cut and seal it" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/words" --private --json
secret=$(json .cid)
check "nothing is left on the way" sh -c "! ls '$EMAC_HOME/private' | grep part"
for how in tokens secret; do
    eval "data=\$$how"
    cat >"$WORK/$how.yaml" <<YAML
name: $how
model: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2}
data: {cid: $data}
recipe: {seq_len: 32, micro_batch: 2, micro_batches: 2, steps: 3, lr: 0.01}
YAML
done
check "train on the tokens" "$EMAC" train "$WORK/tokens.yaml" --local --json --home "$OPEN"
token_params=$(json .params)
check "on the sealed ones" "$EMAC" train "$WORK/secret.yaml" --local --json
same "the same bits of them" "$token_params" "$(json .params)"

# ---- a network ----
up "$WORK/net" 2
"$EMAC" wallet faucet -q
"$EMAC" wallet faucet -q --home "$OTHER"
expect "the key is not granted" 5 'not granted' "$EMAC" job submit "$WORK/lora.yaml"
expect "another has nothing to grant" 5 . "$EMAC" data keys grant "$sealed" --home "$OTHER"
check "grant it" "$EMAC" data keys grant "$sealed"
check "and that of the tokens" "$EMAC" data keys grant "$secret"
check "train on the tokens there" "$EMAC" job submit "$WORK/secret.yaml" --wait --json
same "the same bits" "$token_params" "$(json .params)"
before=$("$EMAC" wallet --json | tail -n 1 | jq -r .units)
refused() { # name, section, pattern
    job no "$sealed" "$1"
    [ -z "${3:-}" ] || echo "$3" >>"$WORK/no.yaml"
    expect "refused: $1 ${3:-}" '2|3' "$2" "$EMAC" job submit "$WORK/no.yaml"
}
refused 'train: full' "'full' would hand out its weights"
refused 'train: head' "'head' would hand out its weights"
refused 'train: lora' "the base is private.*'pipeline'" 'spread: {kind: pipeline, stages: 2}'
same "and nothing was paid" "$before" "$("$EMAC" wallet --json | tail -n 1 | jq -r .units)"
check "an adapter" "$EMAC" job submit "$WORK/lora.yaml" --wait --json
same "the same bits" "$params" "$(json .params)"
id=$(json .id) adapter=$(json .model)
check "by replicas there" "$EMAC" job submit "$WORK/apart.yaml" --wait --json
same "the same bits" "$apart" "$(json .params)"
expect "the private adapter is not granted" 5 'not granted' "$EMAC" eval "$hidden" "$WORK/other"
check "grant it" "$EMAC" data keys grant "$hidden"
check "evaluate it there, with two keys" "$EMAC" eval "$hidden" "$WORK/other" --json
same "the same score" "$adapted" "$(json .loss_bits_per_byte)"
check "evaluate the model there" "$EMAC" eval "$sealed" "$WORK/other" --json
same "the same score" "$bits" "$(json .loss_bits_per_byte)"
check "the owner can audit" "$EMAC" job audit "$id" --sample 1000 --json
same "all of it" "true 0 0" "$(json '"\(.equal == .sample and .sample > 4) \(.unchecked) \(.wrong | length)"')"
grad=$(curl -s "$EMAC_URL/v1/jobs/$id/receipts?limit=1000" | jq -r '[.receipts[] | select(.slot | startswith("grad"))][0].receipt')
expect "one result" 0 'equal ' "$EMAC" verify "$grad"
expect "another cannot check it" 3 'only the owner of what it was computed on' "$EMAC" verify "$grad" --home "$OTHER"

# ---- text ----
KEY=$("$EMAC" key new --limit 5 -q) THEIRS=$("$EMAC" key new --limit 5 -q --home "$OTHER")
ask() { curl -s -o "$WORK/out" -w '%{http_code}' "$EMAC_URL/v1/$3" -H "Authorization: Bearer $1" -d "{\"model\":\"$2\",\"max_tokens\":20,\"temperature\":0,$4}"; }
completion() { ask "$1" "$2" completions '"prompt":"one and"'; }
same "it is not in the catalogue" 404 "$(completion "$KEY" "$sealed")"
same "the adapter answers its owner" 200 "$(completion "$KEY" "$adapter")"
answered=$(json '.choices[0].text')
check "and says what it says here" "$EMAC" generate "$adapter" -p "one and" -n 20 -t 0 --json
same "the same" "$(json .text)" "one and$answered"
same "another it does not" 403 "$(completion "$THEIRS" "$adapter")"
same "because" yes "$(json .error.message | grep -q 'has published no licence' && echo yes)"
job theirs "$sealed" 'train: lora'
expect "nor may he train" 3 'published no licence' "$EMAC" job submit "$WORK/theirs.yaml" --home "$OTHER"
licence() { # a line more
    printf 'asset: %s\nkind: model\nname: quiet\nprice: {inference: "2", train: "1"}\n%s\n' "$sealed" "$1" >"$WORK/licence.yaml"
}
licence "allow: [$("$EMAC" wallet --json | tail -n 1 | jq -r .did)]"
expect "only the owner publishes" 3 'belongs to' "$EMAC" asset publish "$WORK/licence.yaml" --home "$OTHER"
check "publish it, for the owner alone" "$EMAC" asset publish "$WORK/licence.yaml"
same "he is answered" 200 "$(completion "$KEY" "$sealed")"
same "with the same text" "$said" "one and$(json '.choices[0].text')"
same "again, for the next lease has a key of its own" 200 "$(completion "$KEY" "$sealed")"
same "another is not" 403 "$(completion "$THEIRS" "$sealed")"
same "because" yes "$(json .error.message | grep -q 'allows other users only' && echo yes)"
licence ''
check "for everybody" "$EMAC" asset publish "$WORK/licence.yaml"
income() { "$EMAC" asset show "$sealed" --json | tail -n 1 | jq -r .income_units; }
same "another is answered" 200 "$(completion "$THEIRS" "$sealed")"
same "the same text" "$said" "one and$(json '.choices[0].text')"
same "and has paid for it" true "$([ "$(income)" -gt 0 ] && echo true)"
chat=$(ask "$THEIRS" "$sealed" chat/completions '"messages":[{"role":"user","content":"one and"}]')
same "a conversation, too, as far as the model has a form for it" yes "$(echo "$chat" | grep -qE '200|501' && echo yes)"
check "he may evaluate" "$EMAC" eval "$sealed" "$WORK/other" --json --home "$OTHER"
same "the same score" "$bits" "$(json .loss_bits_per_byte)"
expect "but not adapt" 3 'allows no adapters' "$EMAC" job submit "$WORK/theirs.yaml" --home "$OTHER"
licence 'adapters: true'
check "allow it" "$EMAC" asset publish "$WORK/licence.yaml"
check "he adapts" "$EMAC" job submit "$WORK/theirs.yaml" --wait --json --home "$OTHER"
theirs=$(json .model)
same "and is answered by what he made" 200 "$(completion "$THEIRS" "$theirs")"
expect "which he cannot open without the network" 3 'its key is not here' "$EMAC" generate "$theirs" -p x --home "$OTHER"
expect "nor the model" 3 'its key is not here' "$EMAC" model export "$sealed" "$WORK/stolen" --home "$OTHER"

# ---- nothing lies open ----
at=$(($(stat -c %s "$WORK/model/model.safetensors") / 2))
pattern=$(od -An -v -tx1 -j "$at" -N 24 "$WORK/model/model.safetensors" | tr -d ' \n' | sed 's/../\\x&/g')
finds() { LC_ALL=C grep -rqaP "$pattern" "$1"; }
check "a search finds the weights at home" finds "$WORK/model"
check "and on no disk of the network" sh -c "! LC_ALL=C grep -rqaP '$pattern' '$WORK/net'"
check "nor in the store that sealed them" sh -c "! LC_ALL=C grep -rqaP '$pattern' '$EMAC_HOME/store'"

# ---- the end of it ----
check "revoke the licence" "$EMAC" asset revoke "$sealed"
same "another is not answered any more" 403 "$(completion "$THEIRS" "$sealed")"
expect "nor trains" 3 'revoked' "$EMAC" job submit "$WORK/theirs.yaml" --home "$OTHER"
check "take the key back" "$EMAC" data keys revoke "$sealed"
same "nor does what was made of it answer" 404 "$(completion "$KEY" "$adapter")"
expect "nor is anything trained" 5 'not granted' "$EMAC" job submit "$WORK/lora.yaml"
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" true "$(json .ok)"
down

finish
