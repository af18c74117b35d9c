"""The simulation over a fixed set of seeds, and proof that it would notice bugs.

Thousands more run with `tests/simulate`. A seed that ever failed is kept in `KEPT`, with
what was wrong; it stands for one history only as long as the model draws the same numbers.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from simulation.bugs import BUGS
from simulation.clock import World
from simulation.cluster import Options, SimulatedCluster
from simulation.history import Fold
from simulation.runner import simulate

SIMULATE = Path(__file__).parents[1] / "simulate"
ENOUGH_SEEDS = 300

ADDED = "an added partition counts as fresh from its adding, not from when its end was asked"
FOLLOWED = "the model: a follower kept batches of its own epoch in place of its leader's"
KEPT = {
    **dict.fromkeys((567, 866, 1369, 1574), ADDED),
    **dict.fromkeys((446, 526, 1173), FOLLOWED),
}
METADATA = "I19: metadata waits on one dead control connection after the other, past ten seconds"
BY_NAME = "I2: ready by ends that were asked for by name, before the log was asked by topic id"
CUT = {
    **dict.fromkeys((333, 960, 1478, 1706, 1946, 2374, 2777), METADATA),
    **dict.fromkeys((2537, 2778, 2917), BY_NAME),
    5843: "I19: a log that was cut before any batch of it was read went on as if it was not",
    15033: "the model: a follower missed a tombstone and led, with what it had deleted",
    7975: "FOLD: a log that had been cut meanwhile was taken for the one to be confirmed",
}
# Without them a seed is the history that it was before there were such faults.
PLAIN = ("--no-identity", "--no-missed-tombstones")


@pytest.mark.parametrize("share", range(4))
def test_no_seed_of_a_fixed_set_violates_anything(share):
    run = subprocess.run(
        [str(SIMULATE), "--start", str(share * 50), "--seeds", "50"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("50 seeds, 0 violations, ")


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_does_not_any_more(seed):
    run = subprocess.run(
        [str(SIMULATE), "--seed", str(seed), *PLAIN], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("seed", CUT)
def test_a_seed_with_every_fault_that_once_failed_does_not_any_more(seed):
    run = subprocess.run([str(SIMULATE), "--seed", str(seed)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_seed_is_the_same_history_each_time(seed):
    told: list[list[str]] = [[], []]
    first, second = (simulate(seed, trace=lines.append) for lines in told)
    assert first == second
    assert told[0] == told[1]


def test_two_seeds_are_two_histories():
    assert simulate(3).digest != simulate(4).digest


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_put_in_on_purpose_is_reported(bug):
    run = subprocess.run(
        [str(SIMULATE), "--bug", bug.name, "--seeds", str(ENOUGH_SEEDS)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_fold_of_the_model_stops_at_the_position():
    cluster = SimulatedCluster(World(1), Options())
    cluster.create(1)
    partition = cluster.partitions[0]
    for value in (b"1", b"2", None):
        cluster.append(partition, [(b"k", value, 0), (None, b"nobody's", 0)])
    fold = Fold(partition.history, committed=True)
    fold.advance(3)
    assert [rec.value for rec in fold.words(b"k", 0)] == [b"2"]
    fold.advance(6)
    assert [rec.value for rec in fold.words(b"k", 0)] == [None]
    assert fold.words(b"k", 5) == [None]
