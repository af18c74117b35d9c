"""Waits double up to a bound, and are shortened by up to half at random."""

import pytest

from sidecar.kafka.backoff import Backoff, Retry


def test_waits_double_up_to_their_bound():
    rounds = []
    for _ in range(400):
        backoff = Backoff(largest_s=2.0)
        rounds.append([backoff.next_s() for _ in range(8)])
    for step, whole in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]):
        waits = [waits[step] for waits in rounds]
        assert whole / 2 <= min(waits) < whole * 0.6
        assert whole * 0.9 < max(waits) <= whole


def test_waits_spread_out():
    assert len({Backoff().next_s() for _ in range(50)}) > 40


def test_waits_begin_anew_once_it_works_again():
    backoff = Backoff()
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


@pytest.mark.parametrize("largest_s", [0.1, 0.3, 30.0])
def test_no_wait_is_longer_than_the_bound(largest_s):
    backoff = Backoff(largest_s=largest_s)
    assert max(backoff.next_s() for _ in range(60)) <= largest_s


def test_a_retry_comes_later_after_each_failure_up_to_a_second_and_early_after_a_success():
    retry = Retry()
    assert retry.not_before == 0.0
    for longest in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        retry.failed(50.0)
        assert longest / 2 <= retry.not_before - 50.0 <= longest
    retry.worked()
    retry.failed(60.0)
    assert retry.not_before <= 60.1
