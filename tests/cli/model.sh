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
expect "bad CID" 2 'nonsense' "$EMAC" model export nonsense "$WORK/x"
expect "unknown model" '(5|13)' . "$EMAC" model export bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354 "$WORK/x" --url http://127.0.0.1:9
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" model eat a b
expect "help" 0 'EMAC MODEL' "$EMAC" model --help
finish
