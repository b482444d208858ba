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
expect "no GGUF file" 2 "m/config.json': this is not a GGUF file" "$EMAC" model import "$WORK/m/config.json" "$WORK/x"
expect "missing file" 5 . "$EMAC" model import "$WORK/none.gguf" "$WORK/x"
expect "bad CID" 2 'nonsense' "$EMAC" model export nonsense "$WORK/x"
expect "unknown model" '(5|13)' . "$EMAC" model export bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354 "$WORK/x" --url http://127.0.0.1:9
check "import the directory" "$EMAC" model import "$WORK/m" --json
same "it has the CID that training gave it" "$model" "$(json .cid)"
check "export in parts" "$EMAC" model export "$model" "$WORK/parts" --part-size 20K
check "there is no one file" test ! -e "$WORK/parts/model.safetensors"
index=$WORK/parts/model.safetensors.index.json
same "the index names parts that are there" "$(cd "$WORK/parts" && ls model-*.safetensors)" "$(jq -r '.weight_map | [.[]] | unique | .[]' "$index")"
check "there are several, none over 20 KiB and a header" test "$(find "$WORK/parts" -name 'model-*' -size -24k | wc -l)" -gt 2
check "import the parts" "$EMAC" model import "$WORK/parts" --json
same "joined they are the model that was cut" "$model" "$(json .cid)"
check "a directory in parts speaks" "$EMAC" generate "$WORK/parts" -p "one" -n 8 -t 0 --json
text=$(json .text)
check "and the whole" "$EMAC" generate "$WORK/m" -p "one" -n 8 -t 0 --json
same "the same" "$text" "$(json .text)"
check "quantise a directory in parts" "$EMAC" model quantise "$WORK/parts" "$WORK/q3" --format q8_0
check "bytes are those of the whole one's" cmp "$WORK/q/model.safetensors" "$WORK/q3/model.safetensors"
cp -r "$WORK/m" "$WORK/odd"
jq '.pre_tokenizer.use_regex = true' "$WORK/m/tokenizer.json" >"$WORK/odd/tokenizer.json"
mkdir "$WORK/whole" && touch "$WORK/whole/model.safetensors"
check "parts take the place of one file" "$EMAC" model export "$model" "$WORK/whole" --part-size 1M
check "which would be read before them" test ! -e "$WORK/whole/model.safetensors" -a -e "$WORK/whole/model-00001-of-00001.safetensors"
last=$(cd "$WORK/parts" && ls model-*.safetensors | tail -n 1)
parts_refused() { # NAME PATTERN
    expect "$1" 2 "$2" "$EMAC" model import "$WORK/parts"
    expect "$1, asked to speak" 2 "$2" "$EMAC" generate "$WORK/parts" -p one -n 1
}
mv "$WORK/parts/$last" "$WORK/last"
parts_refused "a part is missing" "the part '$last' of the model is not there"
head -c 100 "$WORK/last" >"$WORK/parts/$last"
expect "a part is cut short" 7 "'$last': not a safetensors file" "$EMAC" model import "$WORK/parts"
cp "$WORK/parts/model-00001"* "$WORK/parts/$last"
parts_refused "a part is another" "must be in one part alone"
mv "$WORK/last" "$WORK/parts/$last"
cp "$index" "$WORK/index"
jq '.weight_map.stranger = "'"$last"'"' "$WORK/index" >"$index"
parts_refused "a tensor that is not there" "'$last' holds the tensor 'stranger', and it does not"
jq 'del(.weight_map["model.norm.weight"])' "$WORK/index" >"$index"
parts_refused "a tensor that is not named" "'model.norm.weight', which the index does not name"
sed 's/"weight_map": {/&"model.norm.weight": "x.safetensors",/' "$WORK/index" >"$index"
parts_refused "a tensor named twice" "names a tensor twice"
sed "s|\"$last\"|\"../last.safetensors\"|" "$WORK/index" >"$index"
parts_refused "a part elsewhere" "names '../last.safetensors'"
echo '{}' >"$index"
parts_refused "no map" "names no tensor"
expect "a part of nothing" 2 "'--part-size 0' is not an amount" "$EMAC" model export "$model" "$WORK/x" --part-size 0
mkdir "$WORK/bad"
cp "$WORK/m/config.json" "$WORK/bad"
printf '\377\377\377\377\377\377\377\177{}' >"$WORK/bad/model.safetensors"
expect "weights that are none" 7 "bad/model.safetensors': not a safetensors file" "$EMAC" model import "$WORK/bad"
printf x >"$WORK/bad/model.safetensors"
expect "nor these" 2 '1 bytes of a file of 1 hold no table' "$EMAC" model import "$WORK/bad" --private
expect "no model there" 5 'config.json' "$EMAC" model import "$WORK"
# GGUF
check "export a GGUF file" "$EMAC" model export "$model" "$WORK/m.gguf" --json
same "its size is told" "$(json .bytes)" "$(stat -c %s "$WORK/m.gguf")"
check "import it" "$EMAC" model import "$WORK/m.gguf" "$WORK/back"
check "it is the directory that was exported" diff -r "$WORK/m" "$WORK/back"
check "of a directory" "$EMAC" model export "$WORK/m" "$WORK/d.gguf"
mkdir "$WORK/named" && cp -r "$WORK/parts" "$WORK/named/m" && cp "$WORK/index" "$WORK/named/m/model.safetensors.index.json"
check "of one in parts" "$EMAC" model export "$WORK/named/m" "$WORK/p.gguf"
check "bytes are those of the whole one's" cmp "$WORK/d.gguf" "$WORK/p.gguf"
mkdir "$WORK/again" && cp -r "$WORK/back" "$WORK/again/m"
check "export what was imported" "$EMAC" model export "$WORK/again/m" "$WORK/a.gguf"
check "it is the same file" cmp "$WORK/d.gguf" "$WORK/a.gguf"
for format in q8_0 f16 bf16; do
    check "export as $format" "$EMAC" model export "$WORK/m" "$WORK/$format.gguf" --format $format
    check "import it" "$EMAC" model import "$WORK/$format.gguf" "$WORK/as-$format"
    check "it speaks" "$EMAC" generate "$WORK/as-$format" -p "one" -n 4 --quiet
done
check "quantised on the way it is what quantise makes" cmp "$WORK/as-q8_0/model.safetensors" "$WORK/q/model.safetensors"
check "a quantised model as it is" "$EMAC" model export "$WORK/q" "$WORK/q.gguf"
check "and back" "$EMAC" model import "$WORK/q.gguf" "$WORK/q4"
check "blocks are the same" cmp "$WORK/q/model.safetensors" "$WORK/q4/model.safetensors"
expect "an unknown type" 2 "unknown format 'q5_0': .*bf16" "$EMAC" model export "$WORK/m" "$WORK/x.gguf" --format q5_0
expect "a type for a directory" 2 "goes with export to a file that ends in .gguf" "$EMAC" model export "$model" "$WORK/x" --format q8_0
expect "a GGUF file in parts" 2 'leave out --part-size' "$EMAC" model export "$model" "$WORK/x.gguf" --part-size 1M
expect "nothing there" 5 'neither a model CID nor a directory' "$EMAC" model export "$WORK/none" "$WORK/x.gguf"
expect "no tokenizer that can be said" 12 'names no token for the end of a text' "$EMAC" model export "$WORK/odd" "$WORK/x.gguf"
mkdir "$WORK/full"
full() { (ulimit -f 40 && exec "$EMAC" model export "$WORK/m" "$WORK/full/x.gguf"); }
expect "the disk is full" 15 . full
check "and nothing is left" test -z "$(ls -A "$WORK/full")"
expect "no such folder" 5 . "$EMAC" model export "$WORK/m" "$WORK/nowhere/x.gguf"
check "a directory with a slash behind it" "$EMAC" model export "$WORK/m/" "$WORK/slash.gguf"
check "gives the same file" cmp "$WORK/d.gguf" "$WORK/slash.gguf"
expect "import of a file, and where to" 2 "say where its model goes" "$EMAC" model import "$WORK/m.gguf"
expect "a file is no model" 2 "is a file, and a model is a CID or a directory" "$EMAC" generate "$WORK/m.gguf" -p one
expect "nor for quantise" 2 "is a file, and a model is a CID or a directory" "$EMAC" model quantise "$WORK/m.gguf" "$WORK/x" --format q8_0
expect "quantise in place" 2 "whose weights would be lost" "$EMAC" model quantise "$WORK/m" "$WORK/m/" --format q8_0
expect "a base for a file" 2 "adapter's directory" "$EMAC" model import "$WORK/m.gguf" "$WORK/x" --base "$model"
expect "a format for a directory" 2 "import of a file" "$EMAC" model import "$WORK/m" --format q8_0
expect "parts for quantise" 2 "part-size goes with export" "$EMAC" model quantise "$WORK/m" "$WORK/x" --format q8_0 --part-size 1M
expect "-o for export" 2 "-o goes with merge" "$EMAC" model export "$model" "$WORK/x" -o "$WORK/y"
expect "a format for merge" 2 "quantise what it writes" "$EMAC" model merge "$model" -o "$WORK/x" --format q8_0
check "and none of them wrote" test ! -e "$WORK/x" -a ! -e "$WORK/y"
expect "merge where to" 2 'add -o DIR' "$EMAC" model merge "$model"
expect "too few names" 2 "'emac model export' takes CID DIR" "$EMAC" model export "$model"
expect "unknown action" 2 "unknown action 'eat'" "$EMAC" model eat a b
expect "help" 0 'EMAC MODEL' "$EMAC" model --help
finish
