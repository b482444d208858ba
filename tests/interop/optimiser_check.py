#!/usr/bin/env python3
"""optimiser_check.py PEER: do EMAC's optimisers step as torch.optim's do?

Runs PEER (optimiser-peer) for each and does the same steps in PyTorch. Prints one PASS or FAIL line
each with the largest difference of the weights' way, relative to the longest; exits 1 when one failed.
torch.optim.Muon orthogonalises in bfloat16, which bounds how near it can be."""

import subprocess
import sys

import torch

STEPS, MOST, SHAPES = 10, 60, [(6, 10), (12, 5)]
LR = 0.02


def numbers(step, matrix):
    x = [((step * 1000 + matrix * 100 + k + 1) * 2654435761 % 2**32 >> 8) * 2.0**-23 - 1
         for k in range(MOST)]
    return torch.tensor(x, dtype=torch.float32).reshape(SHAPES[matrix])


def theirs(make):
    params = [torch.nn.Parameter(numbers(0, i)) for i in range(len(SHAPES))]
    optimiser = make(params)
    for step in range(1, STEPS + 1):
        for i, p in enumerate(params):
            p.grad = numbers(step, i)
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in params])


def main(peer):
    cases = {
        "adamw": (1e-5, lambda p: torch.optim.AdamW(p, LR, (0.9, 0.95), 1e-8, 0.1)),
        "sgd": (1e-5, lambda p: torch.optim.SGD(p, LR, 0.9, weight_decay=0.01)),
        "nesterov": (1e-5, lambda p: torch.optim.SGD(p, LR, 0.9, nesterov=True)),
    }
    if hasattr(torch.optim, "Muon"):
        cases["muon"] = (3e-2, lambda p: torch.optim.Muon(
            p, LR, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"))
    start = torch.cat([numbers(0, i).flatten() for i in range(len(SHAPES))])
    failed = 0
    for name, (tolerance, make) in cases.items():
        text = subprocess.run([peer, name], check=True, capture_output=True, text=True).stdout
        ours, want = torch.tensor([float(x) for x in text.split()]), theirs(make)
        diff = ((ours - want).abs().max() / (want - start).abs().max()).item()
        failed += not diff <= tolerance
        print(f"{'PASS' if diff <= tolerance else 'FAIL'} {name}: largest difference {diff:.1e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
