. "$(dirname "$0")/../lib.sh"
check "this machine is fit" "$EMAC" doctor --json
same "fit" true "$(json .fit)"
same "conformance is good" good "$(json '.rows[] | select(.check == "conformance") | .verdict')"
expect "a named coordinator that is away is a failure" 1 'coordinator' "$EMAC" doctor --url http://127.0.0.1:9
expect "help" 0 'EMAC DOCTOR' "$EMAC" doctor --help
up "$WORK/net" 1
check "with a coordinator" "$EMAC" doctor --json
same "reachable" good "$(json '.rows[] | select(.check == "coordinator") | .verdict')"
same "clock" good "$(json '.rows[] | select(.check == "clock") | .verdict')"
finish
