. "$(dirname "$0")/../lib.sh"
up "$WORK/net" 2
first=$EMAC_URL
check "healthz" curl -sf "$EMAC_URL/healthz"
check "faucet" "$EMAC" wallet faucet
expect "one network a directory" 6 'net' "$EMAC" up --dir "$WORK/net" --nodes 1
kill -9 "$(cat "$WORK/net/coordinator/pid")"
for _ in $(seq 1 100); do sleep 0.1; curl -sf "$EMAC_URL/healthz" >/dev/null && break; done
check "a killed coordinator is back on its port" curl -sf "$EMAC_URL/healthz"
down
up "$WORK/net" 2
same "the same URL after a restart" "$first" "$EMAC_URL"
check "wallet" "$EMAC" wallet show --json
same "and the money is still there" 1000000000000 "$(json .units)"
down
expect "a device that is not there" 2 "node-2 cannot run as it is told to .*node-2/log'" "$EMAC" up --dir "$WORK/none" --nodes 2 --devices cpu,vega
check "the log says which" grep -q "vega" "$WORK/none/node-2/log"
expect "devices and an instruction set" 2 "not both" "$EMAC" up --devices cpu,opencl:0 --isa avx2
expect "shares of time" 2 "not a list of shares" "$EMAC" up --duty 1,0.5,2
expect "a link that is none" 2 "write UP,DOWN,LATENCY" "$EMAC" up --link 10M,50M,60ms:none:10M
expect "bad node count" 2 'nodes' "$EMAC" up --nodes 0
expect "help" 0 'EMAC UP' "$EMAC" up --help
finish
