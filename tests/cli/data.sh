. "$(dirname "$0")/../lib.sh"
printf 'hello\n' >"$WORK/hello"
check "add" "$EMAC" data add "$WORK/hello" --json
cid=$(json .cid)
# the CID that IPFS tools give for these six bytes as a raw leaf
same "CID as IPFS tools give" bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am "$cid"
check "get" "$EMAC" data get "$cid" -o "$WORK/back"
check "same bytes" cmp "$WORK/hello" "$WORK/back"
head -c 3000000 /dev/urandom >"$WORK/big"
check "add 3 MB" "$EMAC" data add "$WORK/big" --json
big=$(json .cid)
check "get 3 MB" "$EMAC" data get "$big" -o "$WORK/big2"
check "same 3 MB" cmp "$WORK/big" "$WORK/big2"
block=$(find "$EMAC_HOME/store/blocks" -type f -size +500k | head -n 1)
printf 'x' | dd of="$block" bs=1 seek=1000 conv=notrunc 2>/dev/null
expect "a rotten block is not handed out" '[57]|13' . "$EMAC" data get "$big" -o "$WORK/big3"
[ ! -e "$WORK/big3" ] && pass "and nothing half-written is left" || fail "big3 exists"
expect "missing file" 5 "nothing-here" "$EMAC" data add "$WORK/nothing-here"
expect "bad CID" 2 "bafynonsense" "$EMAC" data get bafynonsense -o "$WORK/x"
expect "get without -o" 2 "add -o FILE" "$EMAC" data get "$cid"
expect "help" 0 'EMAC DATA' "$EMAC" data --help
finish
