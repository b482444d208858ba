# Data that stay: three rigs with a text each, which no other ever sees, train one model; the same as
# one machine with all three. Deltas that are no such are refused or clipped, and their rig is named.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/public" 1500
for i in 1 2 3; do
    # each of its own, and of another size
    awk -v i="$i" 'BEGIN { for (k = 0; k < 500 * i; k++) printf "SECRET%d-%d of rig %d, ", i, k * 7919 % 1000, i }' \
        >"$WORK/shard$i"
    check "shard $i stays" "$EMAC" data keep "$WORK/shard$i" --dir "$WORK/rig$i" --json
    tail -n 1 "$WORK/out" | jq -r '"\(.cid),\(.size),\(.owner)"' >>"$WORK/list"
    check "shard $i, for the comparison" "$EMAC" data add "$WORK/shard$i" --home "$WORK/alone"
done
job() { # FILE WORSEN MAX_NORM
    cat >"$1" <<END
name: federated
data: {file: $WORK/public, heldout: 0.2}
model: {hidden_size: 32, intermediate_size: 96, layers: 2, heads: 2}
recipe: {seq_len: 32, micro_batch: 2, micro_batches: 2, steps: 24, lr: 0.003, eval_every: 1, eval_batches: 2}
spread: {kind: federated, shards: $manifest, inner_steps: 4, worsen: $2, max_norm: $3}
budget: "20"
END
}
for home in "$WORK/alone" "$EMAC_HOME"; do
    check "the manifest" "$EMAC" data shards "$WORK/list" --home "$home" --json
done
manifest=$(json .cid)
job "$WORK/job.yaml" 0.1 1
check "one machine with all shards" "$EMAC" train "$WORK/job.yaml" --local --home "$WORK/alone" --json
model=$(json .model)

up "$WORK/net" 1 --no-restart # has no shard
node() { # NUMBER
    bg "$EMAC" node --dir "$WORK/rig$1" --name "rig$1" --threads 1 >"$WORK/rig$1.out" 2>"$WORK/rig$1.log"
    eval "pid$1=$BG"
}
for i in 1 2 3; do node $i; done
"$EMAC" wallet faucet >/dev/null 2>&1
check "the job ends" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
same "with the same model" "$model" "$(json .model)"
id=$(json .id)
curl -s "$EMAC_URL/v1/jobs/$id/logs?limit=1000" >"$WORK/log"
check "audit" "$EMAC" ledger audit

# the same texts as tokens, cut by the tokenizer of the public set
check "a tokenizer" "$EMAC" tokenizer train "$WORK/public" --vocab 280 --out "$WORK/bpe"
check "the public text as tokens" "$EMAC" data tokenize "$WORK/public" --tokenizer "$WORK/bpe" --json
public=$(json .cid)
"$EMAC" data tokenize "$WORK/public" --tokenizer "$WORK/bpe" --home "$WORK/alone" >/dev/null 2>&1
for i in 1 2 3; do
    eval "kill \$pid$i && wait \$pid$i"
    check "shard $i stays, as tokens" "$EMAC" data keep "$WORK/shard$i" --dir "$WORK/rig$i" --tokenizer "$WORK/bpe" --json
    tail -n 1 "$WORK/out" | jq -r '"\(.cid),\(.size),\(.owner),\(.tokenizer)"' >>"$WORK/tokens"
    same "its CID follows from text and tokenizer" "$(json .cid)" \
        "$("$EMAC" data tokenize "$WORK/shard$i" --tokenizer "$WORK/bpe" --home "$WORK/alone" --json 2>/dev/null | tail -n 1 | jq -r .cid)"
    node $i
done
bytes=$manifest
for home in "$WORK/alone" "$EMAC_HOME"; do
    check "the manifest of tokens" "$EMAC" data shards "$WORK/tokens" --home "$home" --json
done
manifest=$(json .cid)
job "$WORK/tokens.yaml" 0.1 1
sed -i "s|file: [^,]*|cid: $public|; s/name: .*/name: federated-tokens/" "$WORK/tokens.yaml"
check "tokens: one machine with all shards" "$EMAC" train "$WORK/tokens.yaml" --local --home "$WORK/alone" --json
tokens=$(json .model)
check "tokens: the job ends" timeout 240 "$EMAC" job submit "$WORK/tokens.yaml" --wait --json
same "tokens: with the same model" "$tokens" "$(json .model)"
sed "s|$manifest|$bytes|" "$WORK/tokens.yaml" >"$WORK/bad.yaml"
expect "shards of bytes for a job of tokens" 2 "shard 0 is a text and 'data' is a token set.*with '--tokenizer'" \
    "$EMAC" job submit "$WORK/bad.yaml"
manifest=$bytes
file=$(cut -d, -f1 "$WORK/tokens" | head -n 1)

# nobody else has seen a byte
for i in 1 2 3; do check "rig$i has its own" grep -rqa "SECRET$i" "$WORK/rig$i"; done
for d in net rig1 rig2 rig3; do
    for i in 1 2 3; do
        [ "$d" = "rig$i" ] && continue
        ! grep -rqa "SECRET$i" "$WORK/$d" && pass "$d knows nothing of shard $i" || fail "$d holds bytes of shard $i"
    done
done
rig1=$(sed -n 's/^EMAC_NODE=//p' "$WORK/rig1.out")
url=$(curl -s "$EMAC_URL/v1/status" | jq -r --arg d "$rig1" '.nodes[] | select(.did == $d) | .url')
shard=$(cut -d, -f1 "$WORK/list" | head -n 1)
for form in raw car; do
    for cid in "$shard" "$file"; do
        same "a peer that asks for it as $form" 404 \
            "$(curl -s -o "$WORK/got" -w '%{http_code}' "$url/ipfs/$cid?format=$form")"
    done
done

# a rig whose deltas are nonsense: huge numbers count for max_norm and no more; what is no number ends
# the job. Both say whose it was.
BUILD=${BUILD:-$ROOT/build}
rig3=$(sed -n 's/^EMAC_NODE=//p' "$WORK/rig3.out")
honest=$pid3
poison() { # NUMBER
    kill "$honest" && wait "$honest"
    bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/rig3" --flip-share 0 --delta "$1" \
        --threads 1 >"$WORK/poison.out" 2>"$WORK/poison.log"
    honest=$BG
}
poison 1e10
check "huge deltas do not end the job" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
id=$(json .id)
expect "and their rig is named" 0 "delta of rig '$rig3' is clipped" \
    curl -s "$EMAC_URL/v1/jobs/$id/logs?limit=1000"
poison nan
expect "a delta of NaN ends it" 1 "delta of rig '$rig3' is refused" \
    timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait
check "audit" "$EMAC" ledger audit
finish
