"""An event file read by TensorBoard's own reader and loader: tensorboard_check.py DIR ROWS.json
DIR holds one run; ROWS.json is what GET /v1/jobs/{id}/metrics said of it. Prints the series."""
import glob, json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

folder, rows = sys.argv[1:]
(path,) = glob.glob(folder + "/*tfevents*")
events = list(LegacyEventFileLoader(path).Load())  # checks both sums of each record
assert events[0].file_version == "brain.Event:2", events[0]

want = {}
for r in json.load(open(rows))["metrics"]:
    want.setdefault(r["name"], []).append((r["step"], r["value"], r["at_ms"]))
accumulator = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
accumulator.Reload()
tags = accumulator.Tags()["scalars"]
assert sorted(tags) == sorted(want), (tags, sorted(want))
for tag in tags:
    got = [(e.step, e.value, e.wall_time) for e in accumulator.Scalars(tag)]
    assert len(got) == len(want[tag]), tag
    for (s1, v1, t1), (s2, v2, t2) in zip(got, want[tag]):
        assert s1 == s2 and abs(v1 - v2) <= 1e-6 * abs(v2) and abs(t1 - t2 / 1000) < 1e-6, (tag, s1)
    print(tag, len(got))
