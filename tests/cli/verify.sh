. "$(dirname "$0")/../lib.sh"
BUILD=${BUILD:-$ROOT/build}
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 8/" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
up "$WORK/net" 1
"$EMAC" wallet faucet >/dev/null 2>&1
check "a job" "$EMAC" job submit "$WORK/job.yaml" --wait --json
id=$(json .id)
check "its receipts" "$EMAC" job receipts "$id" --json
same "each task has one" true "$(json '[.receipts[] | .counts and (.outputs | length > 0)] | length > 8 and all')"
grad=$(json '[.receipts[] | select(.slot | startswith("grad/000002"))][0].receipt')
first=$(json '[.receipts[] | select(.slot == "init")][0].receipt')
down
up "$WORK/net" 1 # a rig that has nothing in memory
check "a receipt whose inputs are gone" "$EMAC" verify "$grad" --json --home "$WORK/judge"
same "is equal, and its inputs were made again" "true true" "$(json '"\(.equal) \(.made_again >= 1)"')"
check "another device, in words" "$EMAC" verify "$first" --isa portable --home "$WORK/judge"
same "says so" equal "$(cut -d' ' -f1 "$WORK/out")"
expect "no such receipt" 5 'no receipt' "$EMAC" verify bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy
expect "which one?" 2 '' "$EMAC" verify
expect "its manual" 0 'EMAC VERIFY' "$EMAC" verify --help
check "an audit" "$EMAC" job audit "$id" --sample 5 --seed 7 --json --home "$WORK/judge"
same "five of them are equal" "5 5 0 0" "$(json '"\(.sample) \(.equal) \(.unchecked) \(.wrong | length)"')"
expect "the odds in words" 0 'if 1 % of the results were false' "$EMAC" job audit "$id" --sample 3 --seed 7 --home "$WORK/judge"
expect "an audit of no job" 5 '' "$EMAC" job audit job-none
# A result that a rig lied about, in a job where nobody checks.
down
up "$WORK/net2" 1
"$EMAC" wallet faucet >/dev/null 2>&1
sed -i 's/^budget: .*/&\npolicy: {check: 0, state_copies: 1}/' "$WORK/job.yaml"
bg "$BUILD/tests/tools/faulty-rig" --url "$EMAC_URL" --dir "$WORK/bad" --flip always --seed 3 >"$WORK/bad.out" 2>&1
until_admitted 2
check "a job that nobody checks" "$EMAC" job submit "$WORK/job.yaml" --wait --json
id=$(json .id)
bad=$(sed -n 's/^EMAC_NODE=//p' "$WORK/bad.out")
lie=$(curl -s "$EMAC_URL/v1/jobs/$id/receipts?limit=1000" | jq -r "[.receipts[] | select(.node == \"$bad\" and (.slot | startswith(\"grad\")))] | sort_by(.step)[0].receipt")
expect "its lie is found" 1 'receipt is wrong' "$EMAC" verify "$lie" --json --home "$WORK/judge"
same "in the sum" sum "$(jq -r .output "$WORK/out")"
expect "and by an audit of all" 1 'results of the job are wrong' "$EMAC" job audit "$id" --sample 1000 --home "$WORK/judge"
finish
