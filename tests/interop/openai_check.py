"""The official OpenAI client against a gateway: openai_check.py BASE_URL MODEL [KEY SMALL_KEY], keys that pay, the
second with next to no limit. Prints PASS lines."""
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key=(sys.argv[3:] or ["any"])[0], max_retries=0, timeout=60)
model = sys.argv[2]


def check(name, ok, seen=""):
    print(("PASS " if ok else "FAIL ") + name, seen if not ok else "")
    if not ok:
        sys.exit(1)


check("models.list", any(m.id == model for m in client.models.list()))
ask = dict(model=model, prompt="one and", max_tokens=24, temperature=0.5, seed=3)
c = client.completions.create(**ask)
check("completion", c.object == "text_completion" and len(c.choices) == 1, c)
check("usage", c.usage.completion_tokens == 24 and c.usage.total_tokens == 24 + c.usage.prompt_tokens, c.usage)
check("finish_reason", c.choices[0].finish_reason == "length", c)
again = client.completions.create(**ask)
check("the same seed gives the same text", again.choices[0].text == c.choices[0].text)
parts, usage = [], None
for chunk in client.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
    if chunk.choices:
        parts.append(chunk.choices[0].text)
    usage = chunk.usage or usage
check("the stream gives the same text", "".join(parts) == c.choices[0].text, parts)
check("the stream's usage", usage is not None and usage.completion_tokens == 24, usage)
stopped = client.completions.create(**{**ask, "max_tokens": 100}, stop=[" "])
check("stop", stopped.choices[0].finish_reason == "stop" and " " not in stopped.choices[0].text, stopped)
for name, bad, kind in (("unknown model", {"model": "nope"}, openai.NotFoundError),
                        ("bad temperature", {"temperature": -1}, openai.BadRequestError)):
    try:
        client.completions.create(**{**ask, **bad})
        check(name, False)
    except kind as e:
        check(name, bool(e.body and e.body.get("message")), e.body)
if len(sys.argv) > 4:
    for name, key, more, kind in (
            ("a key that is not known", "emac-0", {}, openai.AuthenticationError),
            ("a limit that is reached", sys.argv[4], {"max_tokens": 60000}, openai.RateLimitError)):
        other = openai.OpenAI(base_url=sys.argv[1], api_key=key, max_retries=0, timeout=60)
        try:
            other.completions.create(**{**ask, **more})
            check(name, False)
        except kind as e:
            check(name, bool(e.body and e.body.get("message")), e.body)
    again = [client.completions.create(**ask, extra_headers={"Idempotency-Key": "once"}) for _ in range(2)]
    check("a request that is sent again", again[0].id == again[1].id and again[0].choices == again[1].choices, again)
