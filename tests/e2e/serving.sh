# Serving: /v1/models and /v1/completions in OpenAI's shapes, streaming included.
. "$(dirname "$0")/../lib.sh"
small_text "$WORK/text" 4000
sed "s|file: .*|file: $WORK/text|" "$ROOT/examples/tiny.yaml" >"$WORK/job.yaml"
up "$WORK/net" 2
"$EMAC" wallet faucet >/dev/null 2>&1
check "train" "$EMAC" job submit "$WORK/job.yaml" --wait --json
model=$(json .model)
post() { curl -s -o "$WORK/out" -w '%{http_code}' "$EMAC_URL/v1/completions" -H 'Content-Type: application/json' -d "$1"; }
check "models" sh -c "curl -s $EMAC_URL/v1/models | jq -e '.object == \"list\" and (.data[] | .id == \"$model\" and .object == \"model\")'"
same "completion" 200 "$(post "{\"model\":\"$model\",\"prompt\":\"one and\",\"max_tokens\":20,\"seed\":1,\"temperature\":0.5}")"
same "its shape" text_completion "$(json .object)"
same "its usage" 20 "$(json .usage.completion_tokens)"
text=$(json .choices[0].text)
check "the same text as emac generate" "$EMAC" generate "$model" -p "one and" -n 20 --seed 1 -t 0.5 --json
same "bit for bit" "one and$text" "$(json .text)"
curl -sN "$EMAC_URL/v1/completions" -d "{\"model\":\"tiny\",\"prompt\":\"one and\",\"max_tokens\":20,\"seed\":1,\"temperature\":0.5,\"stream\":true}" >"$WORK/sse"
same "the stream ends with [DONE]" "data: [DONE]" "$(grep '^data:' "$WORK/sse" | tail -n 1)"
same "the stream gives the same text" "$text" "$(sed -n 's/^data: {/{/p' "$WORK/sse" | jq -j '.choices[0].text // ""')"
same "unknown model" 404 "$(post '{"model":"none","prompt":"x"}')"
same "its error shape" invalid_request_error "$(json .error.type | sed s/not_found_error/invalid_request_error/)"
same "no prompt" 400 "$(post "{\"model\":\"$model\",\"max_tokens\":2}")"
same "bad temperature" 400 "$(post "{\"model\":\"$model\",\"prompt\":\"x\",\"temperature\":-1}")"
same "names the parameter" temperature "$(json .error.param)"
same "not JSON" 400 "$(post '{')"
finish
