#!/bin/sh
# The main job, start to end, as a newcomer sees it: `make demo`.
#
# A coordinator and three rigs, each its own process with its own key, store and port; a real corpus
# added by content address; a Llama-style byte model trained for an escrowed budget; one rig killed
# in mid-run and a new one joining; then held-out loss against gzip -9, the model's CID, a
# continuation through POST /v1/completions, what each rig earned, and the ledger's audit.
#
# usage: demo.sh EMAC [JOB]     KEEP=1 keeps the working directory
set -eu
EMAC=$1
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
JOB=${2:-$ROOT/examples/kjv.yaml}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/emac-demo.XXXXXX")
export EMAC_HOME=$WORK/home
UP='' NEW='' WAIT=''
START=$(date +%s)

stop() {
    trap - EXIT INT TERM
    for p in $WAIT $NEW $UP; do kill -TERM "$p" 2>/dev/null || true; done
    for p in $WAIT $NEW $UP; do wait "$p" 2>/dev/null || true; done
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap stop EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then BOLD=$(printf '\033[1m') PLAIN=$(printf '\033[0m'); else BOLD='' PLAIN=''; fi
step() { printf '%s\n' "$BOLD== $*$PLAIN"; }
job() { "$EMAC" job show "$1" --json | tail -n 1 | jq -r "$2"; }
die() { echo "demo: $*" >&2; for f in "$WORK"/net/*/log; do echo "-- $f" >&2; tail -n 15 "$f" >&2; done; exit 1; }

step "a network: one coordinator, three rigs"
: >"$WORK/up.out" # there before it is read
"$EMAC" up --dir "$WORK/net" --nodes 3 --no-restart >"$WORK/up.out" 2>"$WORK/up.err" &
UP=$!
for _ in $(seq 1 200); do
    EMAC_URL=$(sed -n '1s/^EMAC_URL=//p' "$WORK/up.out")
    [ -z "$EMAC_URL" ] || break
    sleep 0.1
done
[ -n "$EMAC_URL" ] || { cat "$WORK/up.err" >&2; die "the network did not start"; }
export EMAC_URL
echo "coordinator $EMAC_URL"
for _ in $(seq 1 200); do
    [ "$(curl -s "$EMAC_URL/v1/status" | jq '[.nodes[] | select(.state == "admitted")] | length')" = 3 ] && break
    sleep 0.1
done
curl -s "$EMAC_URL/v1/status" | jq -r '.nodes[] | "rig \(.name)  \(.url)  \(.did[0:24])...  \(.isa), \(.gflops | floor) GFLOP/s"'

step "a corpus, by content address"
bible 'gen1:1-rev22:21' >"$WORK/kjv.txt"
CID=$("$EMAC" data add "$WORK/kjv.txt")
SIZE=$(wc -c <"$WORK/kjv.txt")
GZIP=$(gzip -9 -c "$WORK/kjv.txt" | wc -c)
GZIP_BPB=$(awk -v g="$GZIP" -v n="$SIZE" 'BEGIN { printf "%.4f", 8 * g / n }')
echo "King James Bible, $SIZE bytes, $CID"
echo "gzip -9 needs $GZIP_BPB bits per byte"

step "a job, paid from an escrow"
"$EMAC" wallet faucet 2>&1
sed "s|^  file: .*|  cid: $CID|" "$JOB" >"$WORK/job.yaml"
"$EMAC" job submit "$WORK/job.yaml" --json >"$WORK/submit.json"
ID=$(tail -n 1 "$WORK/submit.json" | jq -r .id)
ESCROW=$(tail -n 1 "$WORK/submit.json" | jq -r .escrow_units)
awk -v id="$ID" -v u="$ESCROW" 'BEGIN { printf "%s, %.4f EMAC in escrow\n", id, u / 1e9 }'
"$EMAC" job show "$ID" --wait --json >"$WORK/end.json" &
WAIT=$!

STEPS=$(job "$ID" .steps)
while [ "$(job "$ID" .step)" -lt $((STEPS / 3)) ] && kill -0 $WAIT 2>/dev/null; do sleep 0.5; done
step "at step $(job "$ID" .step): rig node-2 is killed (SIGKILL)"
kill -9 "$(cat "$WORK/net/node-2/pid")"
while [ "$(job "$ID" .step)" -lt $((STEPS / 2)) ] && kill -0 $WAIT 2>/dev/null; do sleep 0.5; done
step "at step $(job "$ID" .step): a new rig joins"
mkdir -p "$WORK/net/newcomer"
"$EMAC" node --dir "$WORK/net/newcomer" --name newcomer --threads 1 >/dev/null 2>"$WORK/net/newcomer/log" &
NEW=$!
wait $WAIT || die "the job did not succeed: $(tail -n 1 "$WORK/end.json")"
WAIT=''

step "the result"
tail -n 1 "$WORK/end.json" | jq -r '"state       \(.state), \(.steps) steps, \(.tokens) tokens, \(.figures.tasks) tasks (\(.figures.checked) executed twice, \(.figures.retries) leased again)",
    "model       \(.model)"'
BPB=$(tail -n 1 "$WORK/end.json" | jq -r .loss_bits_per_byte)
MODEL=$(tail -n 1 "$WORK/end.json" | jq -r .model)
awk -v m="$BPB" -v g="$GZIP_BPB" 'BEGIN {
    printf "held out    %.4f bits per byte; gzip -9 on the whole text: %.4f%s\n", m, g,
        m < g ? "" : "  (NOT better)"
    exit !(m < g) }' || die "the model does not beat gzip"

step "a continuation through POST /v1/completions"
curl -s "$EMAC_URL/v1/completions" -H 'Content-Type: application/json' \
    -d "{\"model\": \"$MODEL\", \"prompt\": \"And God said unto \", \"max_tokens\": 300, \"temperature\": 0.7, \"seed\": 1}" \
    >"$WORK/completion.json"
jq -e -r '"And God said unto " + .choices[0].text' "$WORK/completion.json" || die "no continuation: $(cat "$WORK/completion.json")"

step "who earned what"
curl -s "$EMAC_URL/v1/status" | jq -r '.nodes[] | "\(.did) \(.name)"' >"$WORK/names"
"$EMAC" ledger balances --prefix rig: --json | tail -n 1 | jq -r '.balances[] | "\(.account[4:]) \(.units)"' |
    while read -r did units; do
        awk -v d="$did" -v u="$units" '$1 == d { printf "%-10s %14.9f EMAC  %s\n", $2, u / 1e9, d }' "$WORK/names"
    done

step "the ledger's audit"
"$EMAC" ledger audit
END=$(date +%s)
step "done in $((END - START)) s"
