. "$(dirname "$0")/../lib.sh"
expect "unknown instruction set" 2 "unknown instruction set 'mmx'" "$EMAC" node --isa mmx
expect "bad port" 2 'port' "$EMAC" node --port 70000
expect "bad share of time" 2 "not a share" "$EMAC" node --duty 0
expect "too many slots" 2 "slots go up to 16" "$EMAC" node --slots 17
expect "bad patience" 2 'at most 86400' "$EMAC" node --give-up 86401
expect "bad link" 2 "is no link" "$EMAC" node --link 10M
expect "no coordinator, asked to give up" 13 '127\.0\.0\.1:9' timeout 60 "$EMAC" node --give-up 1 --url http://127.0.0.1:9 --dir "$WORK/n0"
up "$WORK/net" 1
bg "$EMAC" node --dir "$WORK/n1" --name second >"$WORK/n1.out" 2>"$WORK/n1.err"
n1=$BG
until_admitted 2
expect "both rigs are admitted" 0 'second' curl -s "$EMAC_URL/v1/status"
expect "two agents on one directory" 6 'n1' "$EMAC" node --dir "$WORK/n1"
echo 0.25 >"$WORK/n1/duty"
for _ in $(seq 1 100); do grep -q 'computing 25.0 % of the time' "$WORK/n1.err" && break; sleep 0.1; done
expect "a share of time taken from the file" 0 'computing 25.0' cat "$WORK/n1.err"
echo lots >"$WORK/n1/duty"
for _ in $(seq 1 100); do grep -q 'must hold one number' "$WORK/n1.err" && break; sleep 0.1; done
expect "a file that makes no sense is told of" 0 'must hold one number' cat "$WORK/n1.err"
kill -TERM "$n1"
wait "$n1"
same "Ctrl-C stops cleanly" 0 $?
expect "help" 0 'EMAC NODE' "$EMAC" node --help
finish
