# Several requests for text at once on one rig: each gets the text it gets alone, bit for bit; one that is cut, or loses
# its rig, is no matter of the others; each is paid by itself and the books are in order.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
# Slow enough that an endless answer is not over soon.
sed "s|file: .*|file: $WORK/text|; s|hidden_size: .*|hidden_size: 128|; s|intermediate_size: .*|intermediate_size: 384|
    s|layers: .*|layers: 4|; s|  steps: .*|  steps: 4|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
up "$WORK/net" 1 --serving metered
"$EMAC" wallet faucet -q
check "train" "$EMAC" job submit "$WORK/job.yaml" --wait --json
model=$(json .model)
check "a key" "$EMAC" key new --limit 100 --json
key=$(json .key) kid=$(json .id)

# ask FILE PROMPT TOKENS SEED: the answer's text and how it ended.
ask() {
    curl -s "$EMAC_URL/v1/completions" -H "Authorization: Bearer $key" \
        -d "{\"model\":\"$model\",\"prompt\":\"$2\",\"max_tokens\":$3,\"seed\":$4,\"temperature\":0.8}" |
        jq -r '.choices[0].text, .choices[0].finish_reason' >"$1" 2>/dev/null
}
# stream FILE SEED: one that goes on, in the background.
stream() {
    : >"$1"
    bg curl -sN -o "$1" "$EMAC_URL/v1/completions" -H "Authorization: Bearer $key" \
        -d "{\"model\":\"$model\",\"prompt\":\"on and on\",\"max_tokens\":60000,\"seed\":$2,\"stream\":true}"
    for _ in $(seq 1 300); do [ "$(grep -c '^data: {' "$1")" -ge 3 ] && break; sleep 0.1; done
}
all() { # HOW NAMES: the four of them
    "$1" "$WORK/$2.1" "one and" 40 1
    "$1" "$WORK/$2.2" "two" 90 2
    "$1" "$WORK/$2.3" "a longer prompt, which is read beside what the others say" 61 3
    "$1" "$WORK/$2.4" "one and" 40 4
}
beside() { ask "$@" & PIDS="$PIDS $!"; }
compare() { for i in 1 2 3 4; do check "$1, $i" cmp "$WORK/alone.$i" "$WORK/$2.$i"; done; }

all ask alone
same "it says something" length "$(tail -n 1 "$WORK/alone.2")"
stream "$WORK/endless" 7
endless=$BG
PIDS=
all beside together
for pid in $PIDS; do wait "$pid"; done
check "the one before them goes on" kill -0 "$endless"
compare "the same text together" together
kill "$endless"
wait "$endless" 2>/dev/null
stream "$WORK/first" 8
stream "$WORK/second" 9
kill -9 "$(cat "$WORK/net/node-1/pid")"
for _ in $(seq 1 300); do
    [ "$(cat "$WORK/first" "$WORK/second" | grep -c '^data: {"error"')" = 2 ] && break
    sleep 0.1
done
same "who loses the rig in the middle is told" 2 "$(cat "$WORK/first" "$WORK/second" | grep -c '^data: {"error"')"
PIDS=
all beside again
for pid in $PIDS; do wait "$pid"; done
compare "the same text of the rig that is back" again
check "usage" "$EMAC" key usage "$kid" --json
same "twelve answers were paid whole" 12 "$(json '[.usage[] | select(.state == "settled" and (.completion_tokens | IN(40, 61, 90)))] | length')"
same "who lost the rig paid nothing" 2 "$(json '[.usage[] | select(.state == "released")] | length')"
same "who went paid what was made" true "$(json '[.usage[] | select(.state == "settled" and (.completion_tokens | IN(40, 61, 90) | not))] | length == 1')"
check "audit" "$EMAC" ledger audit --json
same "every invariant holds" true "$(json .ok)"
finish
