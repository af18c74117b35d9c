"""The short chaos run: six faults over a constant writer, all judged from the records.

For a long one: `tests/chaos/run --minutes 10`.
"""

from __future__ import annotations

import pytest
from chaos.checks import check
from chaos.history import History
from chaos.report import summary
from chaos.run import Plan, perform

# Its first six faults are of six kinds, on brokers, network and sidecar.
SEED = 5


@pytest.mark.kafka
@pytest.mark.slow
# It takes about 80 s; a broker that does not come back is given 90 s, and a sidecar 45.
@pytest.mark.timeout(420)
def test_six_faults_leave_every_answer_true(tmp_path):
    perform(Plan(seconds=75, seed=SEED, faults=6), tmp_path)
    history = History.load(tmp_path)
    verdict = check(history)
    print(summary(history, verdict))
    assert verdict.violations == []
    assert len(history.faults) >= 4
