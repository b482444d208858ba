#!/bin/sh
# Long campaigns, one after the other: 200 random kills, half an hour of rigs that are replaced, longer
# fuzzing, exhaustive function checks, random calls to the contracts.
# Their last figures are noted in docs/quality.md.
set -u
cd "$(dirname "$0")/.."
BUILD=${1:-build}
EMAC=$(pwd)/$BUILD/emac
export EMAC BUILD=$(pwd)/$BUILD
failed=0
echo "== 200 kills"
KILLS=${KILLS:-200} SEED=${SEED:-$(date +%j)} sh tests/e2e/crash.sh || failed=$((failed + 1))
echo "== half of the rigs replaced every minute, half an hour"
FOR=${FOR:-1800} EVERY=60 STEPS=400 DUTY=0.2 sh tests/e2e/replace.sh || failed=$((failed + 1))
echo "== three rigs with less than half of the memory that the whole model takes"
MEMORY=1 sh tests/e2e/memory.sh || failed=$((failed + 1))
echo "== stages of a model that is mostly frozen, 1, 2, 3 and 5 rigs, one lost of each kind"
LONG=1 sh tests/e2e/frozen.sh || failed=$((failed + 1))
echo "== an image classifier to its end: alone, every instruction set, 1 and 3 rigs"
if [ -d /usr/share/datasets/fashion-mnist ]; then
    FASHION=1 sh tests/e2e/vision.sh || failed=$((failed + 1))
else
    echo "not run: the package dataset-fashion-mnist is not installed"
fi
echo "== every binary32 through the scalar functions"
EMAC_SOAK=1 meson test -C "$BUILD" --suite unit --no-rebuild -t 100 compute: >/dev/null 2>&1 ||
    EMAC_SOAK=1 meson test -C "$BUILD" --suite unit --no-rebuild -t 100 || failed=$((failed + 1))
echo "== ${LEDGER_TRANSFERS:=100000000} transfers against a model of the ledger"
EMAC_LEDGER_TRANSFERS=$LEDGER_TRANSFERS EMAC_LEDGER_SEED=$(date +%j0000) \
    "$BUILD/tests/unit/test_ledger_random" || failed=$((failed + 1))
echo "== every planted bug of the ledger"
tests/mutants/run "$BUILD" || failed=$((failed + 1))
echo "== cheats against the economy: 27 cells, 100 seeds each; 10^7 honest results with flipped bits"
EMAC_ADVERSARY_SEEDS=${ADVERSARY_SEEDS:=100} EMAC_ADVERSARY_FLIPS=10000000 \
    "$BUILD/tests/unit/test_sched_adversary" || failed=$((failed + 1))
echo "== branches of the ledger and the chain"
tests/coverage "$BUILD" || failed=$((failed + 1))
echo "== 2 million strangers register"
EMAC_SYBILS=${SYBILS:=2000000} "$BUILD/tests/unit/test_coordinator_sybil" || failed=$((failed + 1))
echo "== 3000 schedules of a chain that is reorganised and lied about"
EMAC_TEST_SEEDS=3000 "$BUILD/tests/unit/test_chain_follow" >/dev/null || failed=$((failed + 1))
echo "== 20000 rings that deal with themselves for a larger allowance"
EMAC_TEST_SEEDS=20000 "$BUILD/tests/unit/test_coordinator_datacap_ring" || failed=$((failed + 1))
echo "== fuzzing, ${FUZZ_SECONDS:=120} s each"
if [ -d build-san ]; then
    for f in build-san/tests/fuzz/fuzz_*; do
        [ -x "$f" ] && [ -f "$f" ] || continue
        name=${f##*/fuzz_}
        mkdir -p "build-san/corpus/$name"
        "$f" -max_total_time="$FUZZ_SECONDS" -print_final_stats=1 "build-san/corpus/$name" \
            "tests/fuzz/corpus/$name" 2>&1 | grep -E 'stat::number_of_executed_units|ERROR|SUMMARY' |
            sed "s/^/$name: /" || failed=$((failed + 1))
    done
else
    echo "run make test first: it builds the fuzzers"
fi
echo "== ${SEQUENCES:=1000000} sequences of calls to the contracts"
if [ -d contracts/node_modules ]; then
    SEQUENCES=$SEQUENCES node contracts/test/fuzz.mjs || failed=$((failed + 1))
else
    echo "run make contracts first: it installs the chain"
fi
echo "soak: $failed campaigns failed"
exit "$failed"
