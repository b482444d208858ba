. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
check "train" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
check "export" "$EMAC" model export "$model" "$WORK/m"
for f in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json; do
    check "has $f" test -s "$WORK/m/$f"
done
check "config is JSON" jq -e '.model_type == "llama"' "$WORK/m/config.json"
check "tokenizer is JSON" jq -e '.model.vocab | length == 256' "$WORK/m/tokenizer.json"
check "weights have the safetensors form" python3 -c "
import json, struct, sys
f = open('$WORK/m/model.safetensors', 'rb')
n = struct.unpack('<Q', f.read(8))[0]
h = json.loads(f.read(n))
assert 'model.norm.weight' in h and h['__metadata__']['format'] == 'pt'"
check "quantise" "$EMAC" model quantise "$WORK/m" "$WORK/q" --format q8_0 --json
same "a quarter of the bytes and a bit" "$(json '.bytes < 40000')" true
check "a quantised model speaks" "$EMAC" generate "$WORK/q" -p "one" -n 8 -t 0 --json
check "quantise what is quantised" "$EMAC" model quantise "$WORK/q" "$WORK/q2" --format q8_0
check "bytes are the same" cmp "$WORK/q/model.safetensors" "$WORK/q2/model.safetensors"
expect "no format" 2 'add --format' "$EMAC" model quantise "$WORK/m" "$WORK/x"
expect "unknown format" 2 "unknown format 'q5_0'" "$EMAC" model quantise "$WORK/m" "$WORK/x" --format q5_0
expect "no GGUF file" 2 'not a GGUF file' "$EMAC" model import "$WORK/m/config.json" "$WORK/x"
expect "missing file" 5 . "$EMAC" model import "$WORK/none.gguf" "$WORK/x"
expect "bad CID" 2 'nonsense' "$EMAC" model export nonsense "$WORK/x"
expect "unknown model" '(5|13)' . "$EMAC" model export bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354 "$WORK/x" --url http://127.0.0.1:9
check "import the directory" "$EMAC" model import "$WORK/m" --json
same "it has the CID that training gave it" "$model" "$(json .cid)"
expect "no model there" 5 'config.json' "$EMAC" model import "$WORK"
expect "merge where to" 2 'add -o DIR' "$EMAC" model merge "$model"
expect "too few names" 2 "'emac model export' takes CID DIR" "$EMAC" model export "$model"
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" model eat a b
expect "help" 0 'EMAC MODEL' "$EMAC" model --help
finish
