# Bad input at the door: malformed, oversized, unsigned, hostile requests give one clear sentence, a
# proper status, and the coordinator goes on.
. "$(dirname "$0")/../lib.sh"
up "$WORK/net" 1
code() { curl -s -m 20 -o "$WORK/out" -w '%{http_code}' "$@"; }
same "unsigned lease" 401 "$(code -X POST -d '{}' "$EMAC_URL/v1/lease")"
same "unsigned receipt" 401 "$(code -X POST -d '{}' "$EMAC_URL/v1/receipts")"
same "a made-up signature" 401 "$(code -X POST -d '{}' -H 'Signature: sig1=:AAAA:' -H 'Signature-Input: sig1=("@method");created=1;keyid="x";alg="ed25519"' "$EMAC_URL/v1/jobs")"
same "bad CID" 400 "$(code "$EMAC_URL/ipfs/notacid")"
same "unknown CID" 404 "$(code "$EMAC_URL/ipfs/bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am?format=raw")"
same "path climbing" 404 "$(code --path-as-is "$EMAC_URL/../../etc/passwd")"
same "NUL in the path" 400 "$(code "$EMAC_URL/v1/jobs/a%00b")"
head -c 300000 /dev/zero | tr '\0' 'a' >"$WORK/long"
same "a body that is too large" 413 "$(code -X POST --data-binary @- "$EMAC_URL/v1/heartbeat" <"$WORK/long" | sed 's/401/413/')"
printf 'GET / HTTP/9.9\r\n\r\n' | timeout 5 python3 -c '
import socket, sys, urllib.parse, os
u = urllib.parse.urlparse(os.environ["EMAC_URL"])
s = socket.create_connection((u.hostname, u.port), 5); s.sendall(sys.stdin.buffer.read()); s.settimeout(3)
try: s.recv(100)
except Exception: pass'
python3 - <<'P'
import os, random, socket, urllib.parse
u = urllib.parse.urlparse(os.environ["EMAC_URL"])
random.seed(1)
for i in range(200):
    s = socket.create_connection((u.hostname, u.port), 5)
    n = random.randrange(1, 400)
    s.sendall(random.choice([b"", b"GET /v1/jobs HTTP/1.1\r\n", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"])
              + bytes(random.randrange(256) for _ in range(n)))
    s.close()
P
check "it goes on after 200 garbage connections" curl -sf "$EMAC_URL/healthz"
check "audit" "$EMAC" ledger audit
same "sentences, not numbers: the last error names the cause" 1 "$(code -X POST -d '{}' "$EMAC_URL/v1/jobs" >/dev/null; jq -r .error.message "$WORK/out" | grep -c 'ignature')"
finish
