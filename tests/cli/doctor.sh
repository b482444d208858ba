. "$(dirname "$0")/../lib.sh"
check "this machine is fit" "$EMAC" doctor --json
same "fit" true "$(json .fit)"
same "conformance is good" good "$(json '.rows[] | select(.check == "conformance") | .verdict')"
case $(json '[.rows[] | select(.check | startswith("opencl"))][0] | .check + " " + .verdict + " " + .found') in
"opencl:0 good "*"is the published digest"*GFLOP/s*) pass "the OpenCL device: digest and speed" ;;
"opencl warning no device"*) pass "there is no OpenCL device" ;;
*) fail "OpenCL rows" "$(json '.rows')" ;;
esac
expect "a named coordinator that is away is a failure" 1 'coordinator' "$EMAC" doctor --url http://127.0.0.1:9
expect "help" 0 'EMAC DOCTOR' "$EMAC" doctor --help
up "$WORK/net" 1
check "with a coordinator" "$EMAC" doctor --json
same "reachable" good "$(json '.rows[] | select(.check == "coordinator") | .verdict')"
same "clock" good "$(json '.rows[] | select(.check == "clock") | .verdict')"
finish
