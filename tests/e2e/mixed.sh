# A mixed fleet: a rig on the CPU and one on an OpenCL device end in the model of --local, and so
# does a rig that computes on OpenCL alone. Skipped where no OpenCL device is.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|; s/^  steps: .*/  steps: 24/" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
if ! has_opencl; then
    echo "# skipped: this machine has no OpenCL device"
    finish
    exit
fi
state='[.checkpoints[] | .params, .opt, .model] | join(" ")'
check "locally on the CPU" "$EMAC" train "$WORK/job.yaml" --local --json
model=$(json .model)
checkpoints=$(json "$state")
check "locally on OpenCL" "$EMAC" train "$WORK/job.yaml" --local --json --restart --device opencl:0
same "OpenCL: model" "$model" "$(json .model)"
same "OpenCL: checkpoints" "$checkpoints" "$(json "$state")"
host_read=$(json .device.bus_read)
# Tokens and numbers of the schedule go in; weights and optimiser state do not.
check "weights stay on the device" test "$(json '.device.bus_written < .device.bus_read / 4')" = true
# Results that stay: tokens in (twice four bytes each) and numbers of the schedule; out come digests, metrics, and what is
# kept on the disk, which is the state of six of the 24 steps.
check "results stay on the device" "$EMAC" train "$WORK/job.yaml" --local --json --restart --device opencl:0 --results card
same "results stay: model" "$model" "$(json .model)"
same "results stay: checkpoints" "$checkpoints" "$(json "$state")"
moved=$(json '.device | "\(.bus_written) written, \(.bus_read) read, \(.bus_asked) asked for"')
tokens=$(json '.device.bus_written < .tokens * 8 + .steps * 1024 + 65536')
state_out=$(json '.device.bus_read < .steps * 1024')
kept=$(json ".device.bus_asked > 0 and .device.bus_asked < $host_read / 4")
check "tokens in: $moved" test "$tokens" = true
check "no state out: $moved" test "$state_out" = true
check "checkpoints out when they are kept: $moved" test "$kept" = true
expect "no such place" 2 "'--results moon'" "$EMAC" train "$WORK/job.yaml" --local --results moon
expect "a job that does not fit is refused with the figures" 2 "needs [0-9]+ MiB of memory.*may use 0 MiB" \
    "$EMAC" train "$WORK/job.yaml" --local --restart --device opencl:0 --device-memory 900K
# Megabytes that the rigs of a network moved: back in tasks, and for those who asked.
moved() {
    cat "$1"/node-*/log | sed -n 's/.* device, \([0-9.]*\) MB back, \([0-9.]*\) MB for others.*/\1 \2/p' |
        awk '{ back += $1; asked += $2 } END { print back + 0, asked + 0 }'
}
for devices in cpu,opencl:0 opencl:0; do
    up "$WORK/net-$devices" 2 --devices $devices --results card
    check "rigs on $devices: admitted" until_admitted 2
    "$EMAC" wallet faucet >/dev/null 2>&1
    check "rigs on $devices" timeout 240 "$EMAC" job submit "$WORK/job.yaml" --wait --json
    same "rigs on $devices: model" "$model" "$(json .model)"
    same "rigs on $devices: checkpoints" "$checkpoints" "$(json "$state")"
    check "rigs on $devices: the second took part" grep -q "done in" "$WORK/net-$devices/node-2/log"
    check "rigs on $devices: audit" "$EMAC" ledger audit
    down
    # What crosses is gradients (0.134 MB each, at most once), the state of six steps, and parameters for a rig that made
    # none; not the state of 24 steps on two rigs, which would be 19 MB more.
    gradients=$(cat "$WORK/net-$devices"/node-*/log | grep -c "grad/.* MB back")
    set -- $(moved "$WORK/net-$devices")
    check "rigs on $devices: nothing comes back unasked ($1 MB)" awk "BEGIN { exit !($1 < 0.5) }"
    check "rigs on $devices: gradients are asked for ($2 MB, $gradients of them)" \
        awk "BEGIN { exit !($2 < 0.135 * ($gradients + 6 * 3 + 24)) }"
done
finish
