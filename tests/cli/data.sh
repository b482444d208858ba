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

printf 'id,w,h,kind\nr1,1,2,cat\nr2,3,-4e1,dog\nr3,5,6,cat\n' >"$WORK/table.csv"
check "import a table" "$EMAC" data import --csv "$WORK/table.csv" --skip id --json
table=$(json .cid)
same "its records" 30 "$(json .size)"
gzip -nk "$WORK/table.csv"
check "import it compressed" "$EMAC" data import --csv "$WORK/table.csv.gz" --skip id --json
same "the same data set" "$table" "$(json .cid)"
check "show" "$EMAC" data show "$table" --json
same "classes" 'cat dog' "$(json '.classes | join(" ")')"
same "columns" 'w h' "$(json '.columns | join(" ")')"
same "records" 3 "$(json .splits.train.records)"
check "its records as a file" "$EMAC" data get "$(json .splits.train.file)" -o "$WORK/records"
same "the first record" 0000803f000000400000 "$(head -c 10 "$WORK/records" | od -An -v -tx1 | tr -d ' \n')"
expect "import of a bare name" 2 "as options: --csv FILE" "$EMAC" data import "$WORK/table.csv"
expect "a bad cell: line and column" 2 "line 2: 'r1' in column 'id'" "$EMAC" data import --csv "$WORK/table.csv"
expect "no such column" 2 "names no column 'colour'" "$EMAC" data import --csv "$WORK/table.csv" --label colour
printf '\000\000\010\003\000\000\000\002\000\000\000\001\000\000\000\002abcd' >"$WORK/images"
printf '\000\000\010\001\000\000\000\002\001\000' >"$WORK/labels"
check "import images" "$EMAC" data import --images "$WORK/images" --labels "$WORK/labels" --classes 'no,yes' --json
check "show images" "$EMAC" data show "$(json .cid)" --json
same "shape" '1 2 1' "$(json '.shape | join(" ")')"
same "names" 'no yes' "$(json '.classes | join(" ")')"
printf '\000\000\010\003\000\000\000\006\000\000\000\001\000\000\000\001abcdef' >"$WORK/six"
printf '\000\000\010\001\000\000\000\006\000\001\002\000\002\002' >"$WORK/six-labels"
check "import some classes, some of each" "$EMAC" data import --images "$WORK/six" --labels "$WORK/six-labels" --classes 'a,b,c' --only 2,0 --per-class 2 --json
check "show them" "$EMAC" data show "$(json .cid)" --json
same "counted anew" 'c a' "$(json '.classes | join(" ")')"
check "its records" "$EMAC" data get "$(json .splits.train.file)" -o "$WORK/some"
same "in order: a, c, d, e" 610100630000640100650000 "$(od -An -v -tx1 "$WORK/some" | tr -d ' \n')"
expect "a class twice" 2 "'2' is not the number of one of the 3 classes, named once" "$EMAC" data import --images "$WORK/six" --labels "$WORK/six-labels" --only 2,2
expect "labels that are none" 2 'labels .train. have 3 dimensions' "$EMAC" data import --images "$WORK/images" --labels "$WORK/images"
head -c 10 "$WORK/table.csv.gz" >"$WORK/cut.gz"
expect "a cut gzip" 7 "cut.gz.*ends too early" "$EMAC" data import --csv "$WORK/cut.gz"
expect "both kinds" 2 'import what' "$EMAC" data import --csv "$WORK/table.csv" --images "$WORK/images"
expect "a file is no data set" 2 'a file, not a data set' "$EMAC" data show "$cid"
expect "help" 0 'EMAC DATA' "$EMAC" data --help

# as IPFS and Filecoin take it
check "export a data set as a CAR" "$EMAC" data export "$table" -o "$WORK/set.car" --json
same "its size" "$(wc -c <"$WORK/set.car" | tr -d ' ')" "$(json .size)"
check "import it elsewhere" "$EMAC" data import --car "$WORK/set.car" --home "$WORK/home2" --json
same "the same root" "$table" "$(json .cid)"
check "which is all there" "$EMAC" data show "$table" --home "$WORK/home2" --json
check "the piece of the data set" "$EMAC" data piece "$table" --json
piece=$(json .piece)
check "the piece of the file" "$EMAC" data piece "$WORK/set.car" --json
same "is the same" "$piece" "$(json .piece)"
head -c 127 /dev/zero >"$WORK/zeros"
check "the piece of 127 zeros" "$EMAC" data piece "$WORK/zeros" --json
same "as FRC-0069 has it" bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy "$(json .piece)"
same "and Filecoin" baga6ea4seaqdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy "$(json .commp)"
head -c 100 "$WORK/set.car" >"$WORK/cut.car"
expect "a cut CAR" 7 'cut.car|is cut' "$EMAC" data import --car "$WORK/cut.car"
expect "a text is no CAR" 7 'hello' "$EMAC" data import --car "$WORK/hello"
expect "export without -o" 2 'add -o FILE.car' "$EMAC" data export "$table"

# data that stay on a rig
echo "only mine" >"$WORK/mine"
check "a file kept for one rig" "$EMAC" data keep "$WORK/mine" --dir "$WORK/rig" --json
kept=$(json '"\(.cid),\(.size),\(.owner)"')
check "keeping it again changes nothing" "$EMAC" data keep "$WORK/mine" --dir "$WORK/rig" --json
same "the same line" "$kept" "$(json '"\(.cid),\(.size),\(.owner)"')"
same "one line in the rig's list" 1 "$(wc -l <"$WORK/rig/private" | tr -d ' ')"
echo "$kept" >"$WORK/lines"
check "a manifest of shards" "$EMAC" data shards "$WORK/lines" --json
same "its size is that of the shards" 10 "$(json .size)"
echo "$kept" >>"$WORK/lines"
expect "the same shard twice" 2 'shards 0 and 1 are the same' "$EMAC" data shards "$WORK/lines"
echo "nonsense" >"$WORK/lines"
expect "a line that is none" 2 'is not CID,SIZE,DID' "$EMAC" data shards "$WORK/lines"
expect "no such file" 5 'mine-not' "$EMAC" data keep "$WORK/mine-not" --dir "$WORK/rig"
finish
