"""A simulated Kafka cluster, network and clock under the real reader and follower.

One thread, virtual time, one seed: all that happens (writes, transactions, the cleaner
of each replica, elections, lost connections, pauses) is drawn from the seed's random
numbers, so a seed is a history that can be had again. Each has two phases. In the
first any fault may strike, and what is answered must be right or refused; then all is
healed, and the table must become the fold of the log within thirty seconds.

What is real: `sidecar.follower`, `sidecar.core`, and of `sidecar.kafka` all but the
sockets: finding the topic, the cluster's brokers in turn, the fetch and topology loops,
and the bytes of Fetch requests and responses and of record batches.

What is checked comes from the model's own history of committed records (`history`), never
from code of the sidecar:

===== ==============================================================================
I2    never an answer before all was read that the log held when reading began
I3    new partitions are followed, and readiness is not lost
I4    nothing of aborted or open transactions is visible
I9    positions and the offsets of a key never go back within a generation
I11   the stated staleness is never below the true age
I19   another incarnation, or a cut log, is noticed; nothing is answered from it later
I20   deleted keys do not stay; nothing below the log start is visible
I22   thirty seconds after the faults end the lag is 0 and the table equals the fold
FOLD  an answer is the fold of the log up to the stated positions
ENDED the follower goes on, and no task of it fails
===== ==============================================================================

In half of the seeds logs are cut and topics deleted and created again, and in half of them
tombstones go before the sidecar has come to them.

What is not modelled: an unclean leader with records that a cut has lost before; a leader that
was deposed and does not know it yet (its answers would pass for fresh); and authentication.

Run it with `tests/simulate --seeds 1000 --jobs 2`; `--seed 7 --verbose` tells one history.
"""
