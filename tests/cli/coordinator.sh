. "$(dirname "$0")/../lib.sh"
bg "$EMAC" coordinator --dir "$WORK/c" --port 0 --dev >"$WORK/c.out" 2>"$WORK/c.err"
for _ in $(seq 1 100); do [ -s "$WORK/c/url" ] && break; sleep 0.1; done
url=$(cat "$WORK/c/url")
check "healthz" curl -sf "$url/healthz"
check "status" curl -sf "$url/v1/status"
check "openapi" sh -c "curl -sf $url/v1/openapi.yaml | grep -q '^openapi:'"
expect "two coordinators on one database" 6 'coordinator' "$EMAC" coordinator --dir "$WORK/c" --port 0
port=${url##*:}
expect "port taken" 6 "$port" "$EMAC" coordinator --dir "$WORK/d" --port "$port"
expect "unknown path" 0 '404' curl -s -o /dev/null -w '%{http_code}' "$url/v1/nothing"
expect "wrong method" 0 '405' curl -s -o /dev/null -w '%{http_code}' -X DELETE "$url/v1/jobs"
expect "unsigned job" 0 '401' curl -s -o /dev/null -w '%{http_code}' -d '{}' "$url/v1/jobs"
expect "error shape" 0 '"error"' curl -s "$url/v1/jobs/job-nothing"
expect "bad port" 2 'port' "$EMAC" coordinator --port 70000
expect "help" 0 'EMAC COORDINATOR' "$EMAC" coordinator --help
finish
