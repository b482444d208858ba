# Shared by the shell tests. Use: . "$(dirname "$0")/../lib.sh"   (EMAC names the binary.)
# Each case is one `check NAME COMMAND...`; a failing one prints what it ran and saw, and how to
# run the file again. The file ends with `finish`.
set -u
EMAC=${EMAC:-$(cd "$(dirname "$0")/../.." && pwd)/build/emac}
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/emac-test.XXXXXX")
export EMAC_HOME=$WORK/home
# One cache of kernels for all rigs of all tests, the one that PoCL has by itself: compiling them takes longer than the tests.
export POCL_CACHE_DIR="${POCL_CACHE_DIR:-${HOME:-$WORK}/.cache/pocl/kcache}"
unset EMAC_URL
PASSED=0
FAILED=0
UP_PID=''
BG_PIDS=''

cleanup() {
    [ -z "$UP_PID" ] || { kill "$UP_PID" 2>/dev/null; wait "$UP_PID" 2>/dev/null; }
    for p in $BG_PIDS; do kill "$p" 2>/dev/null; wait "$p" 2>/dev/null; done
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pass() { PASSED=$((PASSED + 1)); echo "ok - $1"; }
fail() {
    FAILED=$((FAILED + 1))
    echo "not ok - $1"
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@"
}

# check NAME COMMAND...: the command must succeed.
check() {
    name=$1
    shift
    "$@" >"$WORK/out" 2>"$WORK/err"
    got=$?
    if [ $got -eq 0 ]; then
        pass "$name"
    else
        fail "$name" "command: $*" "exit: $got" "out: $(tail -c 400 "$WORK/out")" \
            "err: $(tail -c 400 "$WORK/err")"
    fi
}

# expect NAME CODE PATTERN COMMAND...: an exit code that CODE (an ERE) matches, and PATTERN (ERE)
# on stderr or stdout.
expect() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    got=$?
    if echo "$got" | grep -Eqx -- "$code" && cat "$WORK/out" "$WORK/err" | grep -Eq -- "$pattern"; then
        pass "$name"
    else
        fail "$name" "command: $*" "exit $got, wanted $code; wanted to see: $pattern" \
            "out: $(tail -c 400 "$WORK/out")" "err: $(tail -c 400 "$WORK/err")"
    fi
}

# same NAME A B: two texts are equal and not empty.
same() {
    if [ -n "$2" ] && [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "first:  $2" "second: $3"; fi
}

# json FILTER: of the last line of $WORK/out.
json() { tail -n 1 "$WORK/out" | jq -r "$1"; }

# is_plain_curve FILE: an ASCII plot of 13 rows, and nothing that only a terminal understands.
is_plain_curve() {
    awk '/\|/ { rows++ } /\033/ || /[^ -~\t]/ { bad = 1 } END { exit rows < 13 || bad }' "$1"
}

# url_from FILE PID: EMAC_URL is what the process, whose output the file is, says it to be.
url_from() {
    for _ in $(seq 1 200); do
        EMAC_URL=$(sed -n 's/^EMAC_URL=//p' "$1" | head -n 1)
        [ -n "$EMAC_URL" ] && break
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    export EMAC_URL
    [ -n "$EMAC_URL" ]
}

# up DIR NODES [OPTION...]: start a network in the background, set EMAC_URL.
up() {
    updir=$1 upnodes=$2
    shift 2
    : >"$WORK/up.out" # there before it is read
    "$EMAC" up --dir "$updir" --nodes "$upnodes" "$@" >"$WORK/up.out" 2>"$WORK/up.err" &
    UP_PID=$!
    url_from "$WORK/up.out" "$UP_PID" || { echo "not ok - the network did not start"; cat "$WORK/up.err"; exit 1; }
}

down() {
    [ -z "$UP_PID" ] || { kill -TERM "$UP_PID"; wait "$UP_PID"; }
    UP_PID=''
}

# until_admitted N: wait until N rigs are admitted (or for 180 s: drivers compile, machines are busy). Rigs join after
# `up` has said its URL.
until_admitted() {
    for _ in $(seq 1 1800); do
        curl -s "$EMAC_URL/v1/status" | jq -e --argjson n "$1" '[.nodes[] | select(.state == "admitted")] | length == $n' >/dev/null && return 0
        sleep 0.1
    done
    return 1
}

# bg COMMAND...: in the background, ended with the script. $BG is its process.
bg() {
    "$@" &
    BG=$!
    BG_PIDS="$BG_PIDS $BG"
}

# until_step N: wait until the job $id has made N steps (or for 90 s).
step() { "$EMAC" job show "$id" --json 2>/dev/null | tail -n 1 | jq -r '.step // 0'; }
until_step() { for _ in $(seq 1 900); do [ "$(step)" -ge "$1" ] && return; sleep 0.1; done; }

# What this machine has: asked once, and handed on by tests/run, for the doctor measures speeds as well.
doctor() {
    [ -n "${DOCTOR:-}" ] || DOCTOR=$("$EMAC" doctor --json 2>/dev/null | tail -n 1)
    echo "$DOCTOR"
}
has_opencl() { [ "$(doctor | jq 'any(.rows[]; .check == "opencl:0")')" = true ]; }
has_isa() { [ "$(doctor | jq --arg i "$1" 'any(.rows[]; .check == "instructions" and (.found | contains($i)))')" = true ]; }

# The demo's corpus: the King James Bible of Debian's bible-kjv, one text.
corpus() { bible 'gen1:1-rev22:21' >"$1"; }

# A small text that needs no package: numbers in words, deterministic.
small_text() {
    awk -v n="${2:-2000}" 'BEGIN {
        split("one two three four five six seven eight nine ten", w, " ")
        for (i = 0; i < n; i++) printf "%s and %s make %s%s", w[i % 10 + 1], w[int(i / 7) % 10 + 1],
            w[(i + int(i / 7)) % 10 + 1], (i % 4 == 3 ? ".\n" : ", ")
    }' >"$1"
}

# images DIR: a data set that needs no package, as IDX files: 16 x 16 pixels, the class (0 to 3) is the
# quarter with the bright spot; noise everywhere. DIR/{train,test}-{images,labels}.
images() {
    mkdir -p "$1"
    python3 - "$1" <<'END'
import struct, sys
state = 1
def noise(n):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % n
for name, count in (("train", 800), ("test", 200)):
    pixels, labels = bytearray(), bytearray()
    for i in range(count):
        k = noise(4)
        y, x = k // 2 * 8 + noise(6), k % 2 * 8 + noise(6)
        image = bytearray(noise(160) for _ in range(256))
        for dy in range(3):
            for dx in range(3):
                image[(y + dy) * 16 + x + dx] = 160 + noise(96)
        pixels += image
        labels.append(k)
    with open(f"{sys.argv[1]}/{name}-images", "wb") as f:
        f.write(struct.pack(">4B3I", 0, 0, 8, 3, count, 16, 16) + pixels)
    with open(f"{sys.argv[1]}/{name}-labels", "wb") as f:
        f.write(struct.pack(">4BI", 0, 0, 8, 1, count) + labels)
END
}

# images_import DIR [OPTION...]: those into the store; the data set's CID.
images_import() {
    d=$1
    shift
    "$EMAC" data import --images "$d/train-images" --labels "$d/train-labels" \
        --test-images "$d/test-images" --test-labels "$d/test-labels" "$@"
}

# Fashion-MNIST of Debian's dataset-fashion-mnist into the store; the data set's CID, that of
# examples/fashion-mnist.yaml. Options are handed on: --only, --per-class.
fashion_import() {
    d=/usr/share/datasets/fashion-mnist
    "$EMAC" data import --images $d/train-images-idx3-ubyte.gz --labels $d/train-labels-idx1-ubyte.gz \
        --test-images $d/t10k-images-idx3-ubyte.gz --test-labels $d/t10k-labels-idx1-ubyte.gz \
        --classes 'T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot' "$@"
}

finish() {
    echo "# $(basename "$0"): $PASSED passed, $FAILED failed"
    [ "$FAILED" -eq 0 ] || { echo "# again: EMAC=$EMAC KEEP=1 sh $0"; exit 1; }
    exit 0
}
