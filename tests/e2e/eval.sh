# Evaluation as a job of its own: --local and 1, 2, 3 and 5 rigs, one of them killed, one with OpenCL, end in one CID; it is
# checked, paid and audited like training, and the owners of the model and the data get their royalties.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
awk 'BEGIN { for (i = 0; i < 8000; i++) printf "%d times %d is %d.\n", i % 9, i % 7, (i % 9) * (i % 7) }' >"$WORK/other"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/tiny.yaml"
check "a model" "$EMAC" train "$WORK/tiny.yaml" --local --json
MODEL=$(json .model)
cat >"$WORK/lora.yaml" <<END
name: lora
base: {cid: $MODEL, train: lora, rank: 2}
data: {file: other}
recipe: {seq_len: 64, micro_batch: 2, micro_batches: 2, steps: 2, lr: 0.01}
END
check "an adapter on it" "$EMAC" train "$WORK/lora.yaml" --local --json
ADAPTER=$(json .model)
check "local" "$EMAC" eval "$MODEL" "$WORK/other" --local --json --threads 1
want=$(json .evaluation) bits=$(json .loss_bits_per_byte) tokens=$(json .tokens)
check "local: the adapter" "$EMAC" eval "$ADAPTER" "$WORK/other" --local --json
want_adapter=$(json .evaluation)
opencl=$("$EMAC" doctor --json 2>/dev/null | tail -n 1 | jq -r '[.rows[] | select(.check == "opencl:0")] | length')
[ "$opencl" = 1 ] && mixed='--devices cpu,opencl:0' || mixed=''

for n in 1 2 3 5; do
    # shellcheck disable=SC2086
    up "$WORK/net$n" "$n" --no-restart $([ "$n" = 2 ] && echo "$mixed")
    "$EMAC" wallet faucet >/dev/null 2>&1
    if [ "$n" = 5 ]; then # one of them leaves in the middle
        sed "s|MODEL|$MODEL|" >"$WORK/long.yaml" <<'END'
name: long
kind: evaluate
model: {cid: MODEL}
data: {file: other}
recipe: {micro_batch: 1}
policy: {check: 0.5}
END
        check "long: local" "$EMAC" eval "$WORK/long.yaml" --local --json
        long=$(json .evaluation)
        "$EMAC" job submit "$WORK/long.yaml" --json >"$WORK/submit"
        id=$(tail -n 1 "$WORK/submit" | jq -r .id)
        until [ "$("$EMAC" job show "$id" --json | tail -n 1 | jq -r '.figures.tasks + (.state == "succeeded" | if . then 1 else 0 end)')" -ge 1 ]; do sleep 0.1; done
        kill -9 "$(cat "$WORK/net5/node-2/pid")"
        check "long: a rig leaves" timeout 120 "$EMAC" job show "$id" --wait --json
        same "long: the CID" "$long" "$(json .evaluation)"
    fi
    check "$n rigs" "$EMAC" eval "$MODEL" "$WORK/other" --json
    same "$n rigs: the CID" "$want" "$(json .evaluation)"
    same "$n rigs: the score" "$bits" "$(json .loss_bits_per_byte)"
    [ "$n" = 1 ] && { check "audit the job" "$EMAC" job audit "$(json .id)" --json; same "all alike" 0 "$(json '.wrong | length')"; }
    if [ "$n" = 2 ]; then
        check "an adapter" "$EMAC" eval "$ADAPTER" "$WORK/other" --json
        same "an adapter: the CID" "$want_adapter" "$(json .evaluation)"
        check "the depot has the result" env EMAC_HOME="$WORK/else" "$EMAC" eval "$want_adapter" --json
        same "it names the adapter" "$ADAPTER" "$(json .model)"
    fi
    if [ "$n" = 3 ]; then
        # Somebody else owns the model: he is paid for the tokens that were evaluated.
        cat >"$WORK/licence.yaml" <<END
asset: $MODEL
kind: model
name: tiny
price: {train: "2"}
commercial: false
END
        check "published" env EMAC_HOME="$WORK/owner" "$EMAC" asset publish "$WORK/licence.yaml"
        expect "for research alone" 3 'research' "$EMAC" eval "$MODEL" "$WORK/other"
        check "with royalties" "$EMAC" eval "$MODEL" "$WORK/other" --research --json
        same "with royalties: the CID" "$want" "$(json .evaluation)"
        check "the asset's income" "$EMAC" asset show "$MODEL" --json
        same "two EMAC a million tokens" "$((tokens * 2000))" "$(json .income_units)"
    fi
    check "$n rigs: audit" "$EMAC" ledger audit
    down
done
finish
