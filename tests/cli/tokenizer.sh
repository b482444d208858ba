. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 3000
for p in gpt2 llama3 bytes; do
    check "train, $p" "$EMAC" tokenizer train "$WORK/text" --vocab 300 --pattern $p --out "$WORK/$p" --json
    same "$p: as many tokens as were asked for" 300 "$(json .vocab)"
    for f in tokenizer.json tokenizer_config.json special_tokens_map.json; do
        check "$p: $f is JSON" jq -e . "$WORK/$p/$f"
    done
    check "$p: encode" "$EMAC" tokenizer encode "$WORK/$p" "$WORK/text"
    cp "$WORK/out" "$WORK/ids"
    check "$p: fewer ids than bytes" test "$(wc -l <"$WORK/ids")" -lt "$(wc -c <"$WORK/text")"
    check "$p: decode" "$EMAC" tokenizer decode "$WORK/$p/tokenizer.json" "$WORK/ids"
    cp "$WORK/out" "$WORK/back"
    check "$p: the text is back" cmp "$WORK/back" "$WORK/text"
done
check "train again" "$EMAC" tokenizer train "$WORK/text" --vocab 300 --out "$WORK/again"
check "the same file" cmp "$WORK/again/tokenizer.json" "$WORK/llama3/tokenizer.json"
head -c 4000 "$WORK/text" | cut -d' ' -f1-9 >"$WORK/one"
rev "$WORK/one" >"$WORK/two"
check "two texts" "$EMAC" tokenizer train "$WORK/one" "$WORK/two" --vocab 280 --out "$WORK/a"
check "in another order" "$EMAC" tokenizer train "$WORK/two" "$WORK/one" --vocab 280 --out "$WORK/b"
check "the same file again" cmp "$WORK/a/tokenizer.json" "$WORK/b/tokenizer.json"
check "encode a prompt" "$EMAC" tokenizer encode "$WORK/gpt2" -p 'one <|endoftext|>' --json
same "only text" false "$(json '.ids | any(. == 0)')"
ids=$(json '.ids | tostring')
check "decode a list" "$EMAC" tokenizer decode "$WORK/gpt2" -p "$ids" --json
same "the prompt" 'one <|endoftext|>' "$(json .text)"
check "with special tokens" "$EMAC" tokenizer encode "$WORK/gpt2" -p 'one <|endoftext|>' --special --json
same "the last is one" 0 "$(json '.ids[-1]')"
check "show" "$EMAC" tokenizer show "$WORK/gpt2" --json
same "what it has" '300 <|endoftext|>' "$(json '"\(.vocab) \(.special[0].token)"')"
expect "said for people" 0 'ids +0 to 299' "$EMAC" tokenizer show "$WORK/gpt2"
expect "fewer pairs than asked for" 0 'only [0-9]+ tokens' "$EMAC" tokenizer train "$WORK/one" --vocab 100000 --out "$WORK/c"
expect "too small a vocabulary" 2 'it must be 257' "$EMAC" tokenizer train "$WORK/one" --vocab 256 --out "$WORK/c"
expect "no vocabulary" 2 'takes texts, --vocab N' "$EMAC" tokenizer train "$WORK/one" --out "$WORK/c"
: >"$WORK/empty"
expect "no text" 2 'no text to make' "$EMAC" tokenizer train "$WORK/empty" --vocab 300 --out "$WORK/c"
printf 'ab\377' >"$WORK/bad"
expect "no UTF-8 to train on" 2 'not UTF-8 at byte 2' "$EMAC" tokenizer train "$WORK/bad" --vocab 300 --out "$WORK/c"
expect "no UTF-8 to encode" 2 'not UTF-8 at byte 2' "$EMAC" tokenizer encode "$WORK/gpt2" "$WORK/bad"
expect "unknown pattern" 2 "unknown pattern 'odd'" "$EMAC" tokenizer train "$WORK/one" --vocab 300 --out "$WORK/c" --pattern odd
expect "an id too large" 2 "'300' is not an id" "$EMAC" tokenizer decode "$WORK/gpt2" -p "1 300"
expect "no number" 2 "'x' is not an id" "$EMAC" tokenizer decode "$WORK/gpt2" -p "x"
expect "neither text nor file" 2 'a FILE, or -p' "$EMAC" tokenizer encode "$WORK/gpt2"
expect "no ids" 2 'a FILE of numbers' "$EMAC" tokenizer decode "$WORK/gpt2"
expect "no tokenizer" 5 'nothing' "$EMAC" tokenizer show "$WORK/nothing"
expect "show what" 2 'one tokenizer' "$EMAC" tokenizer show
jq '.model.type = "Unigram"' "$WORK/gpt2/tokenizer.json" >"$WORK/unigram.json"
expect "another model" 12 "'Unigram'; only BPE" "$EMAC" tokenizer show "$WORK/unigram.json"
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" tokenizer eat
expect "help" 0 'EMAC TOKENIZER' "$EMAC" tokenizer --help
finish
