"""transfer_*: training that starts from a base against the same training from scratch, seed by seed.

Images: a classifier learns five classes of Fashion-MNIST (shirts, coats, dresses), then five others (shoes,
bags, trousers) of which there are 50 images each, in one pass over them (transfer_points) and in ten.
Text: a model learns the King James Bible, then the Jargon File on a tenth of the tokens. Rows are
differences, in points of test accuracy and in bits per byte of held-out text; medians over the seeds."""

import gzip
import json
import os
import subprocess
import tempfile

from harness import Missing, bible

CLOTHES = "/usr/share/datasets/fashion-mnist"
JARGON = "/usr/share/doc/jargon-text/jargon.txt.gz"
SEEDS = (1, 2, 3, 4, 5)
CNN = {"architecture": "cnn", "stages": 2, "filters": 16, "kernel": 3, "layers": 1, "hidden_size": 64}
LLAMA = {"hidden_size": 64, "intermediate_size": 176, "layers": 3, "heads": 4, "kv_heads": 2, "embed_std": 0.1,
         "linear_std": 0.125, "residual_std": 0.0001}
TOKENS = {"seq_len": 128, "micro_batch": 4, "micro_batches": 8, "min_lr": 0.0002, "eval_batches": 64}


class Runs:
    """Jobs run in this process's home directory under `work`."""

    def __init__(self, bench, work):
        self.emac, self.work = bench.emac, work

    def call(self, *args):
        out = subprocess.run([self.emac, *args, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "EMAC_HOME": os.path.join(self.work, "home")})
        if out.returncode:
            raise RuntimeError(f"emac {args[0]}: {out.stderr.strip()[-300:]}")
        return json.loads(out.stdout.strip().splitlines()[-1])

    def train(self, seed, data, recipe, **more):
        path = os.path.join(self.work, "job.yaml")
        job = {"name": "transfer", "seed": seed, "data": data,
               "recipe": {**recipe, "checkpoint_every": recipe["steps"]}, **more}
        with open(path, "w") as f:
            json.dump(job, f)
        return self.call("train", path, "--local")

    def images(self, *options):
        files = {"images": "train-images-idx3", "labels": "train-labels-idx1", "test-images": "t10k-images-idx3",
                 "test-labels": "t10k-labels-idx1"}
        names = [a for k, v in files.items() for a in (f"--{k}", f"{CLOTHES}/{v}-ubyte.gz")]
        return {"cid": self.call("data", "import", *names, *options)["cid"]}


def gains(bench, name, unit, better, scratch, tuned, note):
    """A row of tuned against scratch; `better` is 1 where more is better, -1 where less is."""
    differences = sorted(better * (t - s) for s, t in zip(scratch, tuned))
    middle = differences[len(differences) // 2]
    bench.figure(name, round(middle, 3), unit)
    bench.rows[-1].update(runs=len(differences), least=round(differences[0], 3), most=round(differences[-1], 3))
    bench.note(f"{name}: from scratch {sorted(scratch)[len(scratch) // 2]:.2f}, from the base "
               f"{sorted(tuned)[len(tuned) // 2]:.2f} ({note}); gains {differences[0]:.2f} to {differences[-1]:.2f}")


def measure_images(bench, runs):
    if not os.path.isdir(CLOTHES):
        raise Missing("Debian's dataset-fashion-mnist is not installed")
    first = runs.images("--only", "0,2,3,4,6")
    others = runs.images("--only", "1,5,7,8,9", "--per-class", "50")
    base = runs.train(1, first, {"micro_batch": 50, "micro_batches": 2, "steps": 400, "lr": 0.003}, model=CNN)["model"]
    for name, passes in (("transfer_points", 1), ("transfer_points_10", 10)):
        recipe = {"micro_batch": 25, "micro_batches": 2, "steps": 5 * passes, "lr": 0.003}
        scratch = [100 * runs.train(s, others, recipe, model=CNN)["accuracy"] for s in SEEDS]
        tuned = [100 * runs.train(s, others, recipe, base={"cid": base, "train": "full"})["accuracy"] for s in SEEDS]
        gains(bench, name, "points of accuracy over training from scratch", 1, scratch, tuned,
              f"{passes} pass{'es' if passes > 1 else ''} over 250 images")


def measure_text(bench, runs):
    text = os.path.join(runs.work, "bible.txt")
    jargon = os.path.join(runs.work, "jargon.txt")
    bible(text)
    try:
        with gzip.open(JARGON) as source, open(jargon, "wb") as f:
            f.write(source.read())
    except OSError as e:
        raise Missing(f"Debian's jargon-text is needed: {e}") from e
    base = runs.train(1, {"file": text}, {**TOKENS, "steps": 300, "lr": 0.004}, model=LLAMA)["model"]
    recipe = {**TOKENS, "steps": 30, "lr": 0.004}
    scratch = [runs.train(s, {"file": jargon}, recipe, model=LLAMA)["loss_bits_per_byte"] for s in SEEDS]
    for train in ("full", "lora"):
        how = {"cid": base, "train": train}
        if train == "lora":
            how.update(rank=8, alpha=32, targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                                  "down_proj"])
        tuned = [runs.train(s, {"file": jargon}, recipe, base=how)["loss_bits_per_byte"] for s in SEEDS]
        gains(bench, f"transfer_text_{train}", "bits per byte less than training from scratch", -1, scratch, tuned,
              "123,000 tokens, the base on ten times as many of another text")


def measure(bench):
    with tempfile.TemporaryDirectory(prefix="emac-transfer-") as work:
        runs = Runs(bench, work)
        for part in (measure_images, measure_text):
            try:
                part(bench, runs)
            except Missing as e:
                bench.note(f"{part.__name__[8:]} are not measured: {e}")
