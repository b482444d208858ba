. "$(dirname "$0")/../lib.sh"
# What a sweep found, in a form that two of them can be compared in.
outcome() { tail -n 1 "$1" | jq -c '[.model, .rungs, (.trials[] | {"label": .label, state, step, stopped_at, scores, heldout_loss, model})]'; }
small_text "$WORK/text"
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/tiny.yaml"
sed 's/0\.0003, //; s/, 0\.1\]/]/; s/\[60\]/[24]/; s/^rungs:.*/rungs: [4, 12]/' "$ROOT/examples/sweep.yaml" >"$WORK/sweep.yaml"
check "a sweep in this process" env LC_ALL=C "$EMAC" sweep run "$WORK/sweep.yaml" --local --svg "$WORK/plot.svg"
cp "$WORK/out" "$WORK/shown"
check "its curves are there, and no escape codes" is_plain_curve "$WORK/shown"
same "a line a trial, one wins" "4 1" "$(grep -c ' recipe.lr=' "$WORK/shown") $(grep -c 'wins$' "$WORK/shown")"
same "two stop at the first rung, one at the second" "2 1" "$(grep -c 'stopped at 4$' "$WORK/shown") $(grep -c 'stopped at 12$' "$WORK/shown")"
check "the plot is XML with a line a trial" python3 -c "
import sys, xml.etree.ElementTree as e
assert len(e.parse('$WORK/plot.svg').getroot().findall('{http://www.w3.org/2000/svg}polyline')) == 4"
check "again, with one thread" "$EMAC" sweep run "$WORK/sweep.yaml" --local --threads 1 --json
outcome "$WORK/out" >"$WORK/local"
model=$(json .model)
winner=$(json '.trials[] | select(.model) | .trial')
cat >"$WORK/winner.yaml" <<END
$(sed "s/steps: 12/steps: 24/; s/lr: 0.003/lr: $(json '.trials[] | select(.model) | .label' | sed 's/recipe.lr=//; s/ .*//')/" "$WORK/tiny.yaml" | sed 's/^recipe:/recipe:\n  eval_every: 4/')
END
check "the winner's recipe alone" "$EMAC" train "$WORK/winner.yaml" --local --json --home "$WORK/alone"
same "gives the winner's model" "$model" "$(json .model)"
for rigs in 1 2 3; do
    up "$WORK/net$rigs" $rigs
    [ $rigs -gt 1 ] || expect "an empty wallet" 4 'holds 0' "$EMAC" sweep run "$WORK/sweep.yaml"
    check "faucet" "$EMAC" wallet faucet
    check "by $rigs rigs" "$EMAC" sweep run "$WORK/sweep.yaml" --json
    outcome "$WORK/out" >"$WORK/net.$rigs"
    same "$rigs rigs: the same trials stop, the same model wins" "$(cat "$WORK/local")" "$(cat "$WORK/net.$rigs")"
    id=$(json .id)
    job=$(json ".trials[$winner].job")
    check "audit" "$EMAC" ledger audit
    [ $rigs -eq 3 ] || down
done
check "show" env LC_ALL=C "$EMAC" sweep show "$id" --svg "$WORK/net.svg"
same "the same table" "$(grep ' recipe.lr=' "$WORK/shown")" "$(grep ' recipe.lr=' "$WORK/out")"
check "the same plot" cmp "$WORK/plot.svg" "$WORK/net.svg"
check "a trial is a job" "$EMAC" job show "$job" --json
same "with the winner's model" "$model" "$(json .model)"
check "list" "$EMAC" sweep list --json
same "it is listed" "$id" "$(json '.sweeps[0].id')"
sed 's/\[24\]/[90000]/; s/^rungs:.*/rungs: [40000]/' "$WORK/sweep.yaml" >"$WORK/long.yaml"
check "a long one, not waited for" "$EMAC" sweep run "$WORK/long.yaml" --detach --json
long=$(json .id)
expect "cancel by a stranger" 3 'belongs to' "$EMAC" sweep cancel "$long" --home "$WORK/stranger"
check "cancel" "$EMAC" sweep cancel "$long"
check "show it" "$EMAC" sweep show "$long" --json
same "all trials are cancelled" '["cancelled"]' "$(json '[.trials[].state] | unique | tojson')"
check "audit" "$EMAC" ledger audit
before=$("$EMAC" ledger balances --json | tail -n 1 | jq -c .)
bad() { sed "$2" "$WORK/sweep.yaml" >"$WORK/bad.yaml"; expect "$1" 2 "$3" "$EMAC" sweep run "$WORK/bad.yaml"; }
bad "a rung past the end" 's/^rungs:.*/rungs: [4, 24]/' '24 is not below the 24 steps'
bad "a rung without evaluation" 's/recipe.steps: \[24\]/recipe.eval_every: [3]/' 'must divide the rung 4'
bad "a value that no job may have" 's/0.001/-1/' 'trial 0 \(recipe.lr=-1.*recipe.lr must'
bad "a field that no job has" 's/recipe.lr/recipe.luck/' "trial 0.*luck"
bad "unknown field" 's/^keep:.*/hold: 1/' "unknown field 'hold'"
bad "all go on" 's/^keep:.*/keep: 1/' 'keep must be'
bad "no sweep" 's/^kind:.*/kind: train/' "is no sweep"
sed 's/^file:.*/file: none.yaml/' "$WORK/sweep.yaml" >"$WORK/bad.yaml"
expect "a job file that is not there" 5 'none.yaml' "$EMAC" sweep run "$WORK/bad.yaml"
same "and no money moved" "$before" "$("$EMAC" ledger balances --json | tail -n 1 | jq -c .)"
expect "unknown sweep" 5 'sweep-nothing' "$EMAC" sweep show sweep-nothing
expect "unknown action" 2 "unknown action 'mop'" "$EMAC" sweep mop
expect "which one" 2 "needs a sweep file" "$EMAC" sweep run
expect "help" 0 'EMAC SWEEP' "$EMAC" sweep --help
finish
