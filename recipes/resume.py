"""Killed at any moment and started again, training ends bit for bit like a run that was never broken.

    python recipes/resume.py checkpoint.pt

Claim: the printed digest of all weights and of every example's record is the same, however often the program was killed
with ``kill -9`` and started again (n = every kill that tests/test_readme.py tries; one CPU core, 5 seconds).
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import tamis
from tamis.data import load

torch.set_num_threads(1)
path = Path(sys.argv[1])
digits = load("digits").train
train_set = tamis.Indexed(TensorDataset(digits.x.flatten(1), digits.y))
with torch.random.fork_rng():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
sieve = tamis.Sieve(len(train_set), tamis.policies.selective_backprop(beta=1), budget=4, seed=0)
loader = DataLoader(train_set, batch_sampler=sieve.batches(32), num_workers=2)
parts = {"model": model, "optimizer": optimizer, "sieve": sieve}

if path.exists():
    saved = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    print(f"going on at {sieve.fraction:.0%}", flush=True)

while not sieve.done:
    for index, x, y in loader:
        batch = sieve.select(model, index, x, y)
        if batch is None:
            continue
        loss = sieve.loss(batch.index, model(batch.x), batch.y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - sieve.fraction)
        if sieve.costs.steps % 5 == 0:  # written beside and renamed: a checkpoint is the old one or the new one
            torch.save({name: part.state_dict() for name, part in parts.items()}, path.with_suffix(".part"))
            os.replace(path.with_suffix(".part"), path)

digest = hashlib.sha256()
for tensor in model.state_dict().values():
    digest.update(tensor.numpy().tobytes())
for column in sieve.recorder.table().values():
    digest.update(column.tobytes())
print(f"digest {digest.hexdigest()}")
