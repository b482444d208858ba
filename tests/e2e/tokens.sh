# A text cut by a tokenizer: a token set has one CID; the same bytes as tokens train the same weights; a model
# with a vocabulary of its own is the same from --local and from 1 and 3 rigs, speaks and chats through the API, and is
# tuned on; tokens of another tokenizer are refused.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 3000

cat >"$WORK/bytes.yaml" <<YAML
name: bytes
data: {file: $WORK/text, heldout: 0.1}
model: {hidden_size: 32, intermediate_size: 96, layers: 2, heads: 2}
recipe: {seq_len: 48, micro_batch: 2, micro_batches: 4, steps: 6, lr: 0.01, checkpoint_every: 3, eval_batches: 4}
budget: "1"
YAML
check "a model of bytes" "$EMAC" train "$WORK/bytes.yaml" --local --json
params=$(json .params) bits=$(json .loss_bits_per_byte)
check "export it" "$EMAC" model export "$(json .model)" "$WORK/bytes"

# ---- bytes as a token set ----
check "tokens by its own tokenizer" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/bytes" --json
set=$(json .cid)
same "two bytes a token" "$(($(wc -c <"$WORK/text") * 2))" "$(json .size)"
check "once more" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/bytes" --json
same "the same CID" "$set" "$(json .cid)"
sed "s|file: [^,]*|cid: $set|" "$WORK/bytes.yaml" >"$WORK/set.yaml"
check "a model of these tokens" "$EMAC" train "$WORK/set.yaml" --local --json
same "has the weights of the model of bytes" "$params" "$(json .params)"
same "and its loss" "$bits" "$(json .loss_bits_per_byte)"

# ---- a vocabulary of its own ----
check "a tokenizer is trained" "$EMAC" tokenizer train "$WORK/text" --vocab 300 --out "$WORK/bpe"
jq '. + {chat_template: "{{ \"<|im_start|>\" + message.role }}"}' "$WORK/bpe/tokenizer_config.json" >"$WORK/taught"
mv "$WORK/taught" "$WORK/bpe/tokenizer_config.json"
check "the text is cut by it" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/bpe" --json
set=$(json .cid)
check "what it holds" "$EMAC" data show "$set" --json
same "a vocabulary" "300 2" "$(json '"\(.vocab) \(.width)"')"
same "fewer tokens than bytes" true "$(json '.tokens * 2 < .text')"
sed -e "s|file: [^,]*|cid: $set|" -e 's/name: bytes/name: words/' "$WORK/bytes.yaml" >"$WORK/words.yaml"
result='[.model, .loss_bits_per_byte, (.checkpoints[] | .params, .opt, .model)] | join(" ")'
check "local" "$EMAC" train "$WORK/words.yaml" --local --json --threads 1
want=$(json "$result") model=$(json .model) bits=$(json .loss_bits_per_byte)
check "local, 2 threads" "$EMAC" train "$WORK/words.yaml" --local --json --threads 2 --restart
same "the same" "$want" "$(json "$result")"
check "export it" "$EMAC" model export "$model" "$WORK/words"
check "with its tokenizer" cmp "$WORK/bpe/tokenizer.json" "$WORK/words/tokenizer.json"
same "and its vocabulary" 300 "$(jq .vocab_size "$WORK/words/config.json")"
check "generate" "$EMAC" generate "$model" -p "one and two" -n 12 -t 0 --json
said=$(json .text)
case $said in "one and two"?*) pass "it says something" ;; *) fail "it says something" "$said" ;; esac
check "import it again" "$EMAC" model import "$WORK/words" --json
same "the same CID" "$model" "$(json .cid)"

# ---- tuned on, or not ----
cat >"$WORK/lora.yaml" <<YAML
name: lora
base: {cid: $model, train: lora, rank: 4}
data: {cid: $set, heldout: 0.1}
recipe: {seq_len: 48, micro_batch: 2, micro_batches: 4, steps: 4, lr: 0.01, eval_batches: 4}
budget: "1"
YAML
check "an adapter on it" "$EMAC" train "$WORK/lora.yaml" --local --json
adapter=$(json .model)
check "speaks by the base's tokenizer" "$EMAC" generate "$adapter" -p "one and two" -n 12 -t 0 --json
check "merged it has the tokenizer" "$EMAC" model merge "$adapter" -o "$WORK/merged" --json
check "the very file" cmp "$WORK/bpe/tokenizer.json" "$WORK/merged/tokenizer.json"
check "another tokenizer" "$EMAC" tokenizer train "$WORK/text" --vocab 290 --out "$WORK/other"
check "another token set" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK/other" --json
sed "s|data: {cid: [^,]*|data: {cid: $(json .cid)|" "$WORK/lora.yaml" >"$WORK/misfit.yaml"
expect "refused: tokens of another tokenizer" "2|3" "cut by another tokenizer than the model has" "$EMAC" train "$WORK/misfit.yaml" --local
sed "s|data: {cid: [^,]*|data: {file: $WORK/text|" "$WORK/lora.yaml" >"$WORK/again.yaml"
check "a text is cut by the base's tokenizer" "$EMAC" train "$WORK/again.yaml" --local --json --restart
same "the same adapter" "$adapter" "$(json .model)"
check "evaluate on the text" "$EMAC" eval "$model" "$WORK/text" --local --json
whole=$(json .evaluation)
check "on its tokens" "$EMAC" eval "$model" "$set" --local --json
same "the same evaluation" "$whole" "$(json .evaluation)"
check "the text as bytes" "$EMAC" data add "$WORK/text" --json
plain=$(json .cid)
sed "s|data: {cid: [^,]*|data: {cid: $plain|" "$WORK/lora.yaml" >"$WORK/misfit.yaml"
expect "refused: bytes for a model of words" "2|3" "whose tokens are bytes: 256" "$EMAC" train "$WORK/misfit.yaml" --local
expect "refused: evaluated on bytes" "2|3" "whose tokens are bytes: 256" "$EMAC" eval "$model" "$plain" --local
{ sed "s|heads: 2|heads: 2, vocab_size: 299|" "$WORK/words.yaml"; } >"$WORK/misfit.yaml"
expect "refused: too small a vocabulary" "2|3" "vocab_size 299 is less than the vocabulary of the data, 300" \
    "$EMAC" train "$WORK/misfit.yaml" --local
expect "refused: no tokenizer" "2|3" "holds no 'tokenizer.json'" "$EMAC" data tokenize "$WORK/text" --tokenizer "$WORK"
expect "refused: none named" "2|3" "by which tokenizer" "$EMAC" data tokenize "$WORK/text"
printf 'good \377 bad\n' >"$WORK/latin"
expect "refused: no UTF-8" "2|3" "UTF-8" "$EMAC" data tokenize "$WORK/latin" --tokenizer "$WORK/bpe"

# ---- on a network ----
for rigs in 1 3; do
    up "$WORK/net-$rigs" $rigs
    check "$rigs rigs: play money" "$EMAC" wallet faucet
    check "$rigs rigs: the job" "$EMAC" job submit "$WORK/words.yaml" --wait --json
    same "$rigs rigs: the model of --local" "$model" "$(json .model)"
    same "$rigs rigs: bits a byte" "$bits" "$("$EMAC" job show "$(json .id)" --json | tail -n 1 | jq -r .loss_bits_per_byte)"
    if [ $rigs = 1 ]; then
        curl -s "$EMAC_URL/v1/completions" -H 'content-type: application/json' \
            -d "{\"model\": \"$model\", \"prompt\": \"one and two\", \"max_tokens\": 12, \"temperature\": 0}" >"$WORK/out"
        same "the API says the same" "$said" "one and two$(json '.choices[0].text')"
        same "and counts tokens" "12" "$(json .usage.completion_tokens)"
        same "of the prompt, too" true "$(json '.usage.prompt_tokens < 11')"
        curl -s "$EMAC_URL/v1/chat/completions" -H 'content-type: application/json' \
            -d "{\"model\": \"words\", \"messages\": [{\"role\": \"user\", \"content\": \"one\"}], \"max_tokens\": 9}" >"$WORK/out"
        same "a chat" "chat.completion assistant 9" \
            "$(json '"\(.object) \(.choices[0].message.role) \(.usage.completion_tokens)"')"
        curl -sN "$EMAC_URL/v1/chat/completions" -H 'content-type: application/json' -d "{\"model\": \"words\", \"stream\": true,
            \"messages\": [{\"role\": \"user\", \"content\": \"one\"}], \"max_tokens\": 9}" >"$WORK/stream"
        same "as a stream" "assistant length" "$(sed -n 's/^data: {/{/p' "$WORK/stream" |
            jq -rs '"\(.[0].choices[0].delta.role) \(.[-1].choices[0].finish_reason)"')"
    fi
    check "$rigs rigs: the ledger" "$EMAC" ledger audit
    down
done
finish
