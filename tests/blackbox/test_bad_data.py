"""Batches that no sidecar should swallow, met by the installed one as a process."""

from __future__ import annotations

import struct
from pathlib import Path

import cramjam
from support.batches import batch, crc32c
from support.serving import Serving

MIB = 1 << 20


def bomb(base_offset: int) -> bytes:
    """A gigabyte of zeros in a batch of some tens of kilobytes."""
    packer = cramjam.zstd.Compressor()
    parts = []
    for _ in range(1024):
        packer.compress(bytes(MIB))
        parts.append(bytes(packer.flush()))
    packed = b"".join([*parts, bytes(packer.finish())])
    return batch([(b"k", b"v")], base_offset=base_offset, codec="zstd", compress=lambda _: packed)


def resident(sidecar: Serving, field: str = "VmHWM") -> int:
    """The most memory that it ever had, bytes."""
    lines = Path(f"/proc/{sidecar.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def serving(tmp_path: Path, bootstrap: str, *more: str, **variables: str) -> Serving:
    tables = [word for name in ("users", "prices") for word in ("--table", name)]
    return Serving(tmp_path, "--bootstrap-servers", bootstrap, *tables, *more, **variables)


def test_a_small_batch_that_unpacks_to_a_gigabyte_is_named_in_little_memory(tmp_path, fake):
    users = fake.add_topic("users", cleanup_policy="compact")[0]
    users.write([(b"alice", b"1")])
    fake.add_topic("prices", cleanup_policy="compact")[0].write([(b"book", b"9")])
    with serving(tmp_path, fake.bootstrap_servers) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        before = resident(sidecar)
        data = bomb(users.next_offset)
        assert len(data) < 100_000
        assert struct.unpack_from(">I", data, 17)[0] == crc32c(data[21:])
        users.append(data)
        sidecar.until_says("limits.batch_bytes")
        sidecar.until(lambda: table(sidecar, "users")["state"] == "STALE", "stale")
        (partition,) = table(sidecar, "users")["partitions"]
        assert partition["wait"] == "BAD_BATCH"
        assert "the batch at offset 1 cannot be read: zstd would unpack it" in partition["detail"]
        assert sidecar.run("get", "alice", "-t", "users").returncode == 0
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "partition 0: the batch at offset 1 cannot be read" in told.stdout
        # The cap is 128 MiB; what is unpacked up to it is given back at once.
        assert resident(sidecar) - before < 300 * MIB
        fake.topics["prices"][0].write([(b"book", b"10")])
        sidecar.until(
            lambda: (
                sidecar.run("get", "book", "-t", "prices", "-o", "value").stdout.strip() == "10"
            ),
            "the other table goes on",
        )


def test_bad_batches_are_passed_over_where_the_configuration_says_so(tmp_path, fake):
    users = fake.add_topic("users", cleanup_policy="compact")[0]
    fake.add_topic("prices", cleanup_policy="compact")
    users.write([(b"alice", b"1")])
    users.append(batch([(b"bad", b"1")], base_offset=1, wrong_crc=True))
    users.write([(b"bob", b"2")])
    skipping = {"SIDECAR_TABLES__USERS__SKIP_BAD_BATCHES": "true"}
    with serving(tmp_path, fake.bootstrap_servers, **skipping) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        assert sidecar.run("get", "bob", "-t", "users").returncode == 0
        assert table(sidecar, "users")["counters"]["skipped_batches"] == 1
        assert len(sidecar.saying("batch skipped")) == 1


def test_a_table_that_does_not_fit_is_refused_and_the_process_lives(tmp_path, fake):
    users = fake.add_topic("users", cleanup_policy="compact")[0]
    for at in range(150):
        users.write([(b"%d" % at, b"x" * MIB)])
    fake.add_topic("prices", cleanup_policy="compact")[0].write([(b"book", b"9")])
    with serving(
        tmp_path, fake.bootstrap_servers, SIDECAR_LIMITS__MEMORY=str(160 * MIB)
    ) as sidecar:
        sidecar.until_says("generation ends")
        sidecar.until(lambda: table(sidecar, "users")["state"] == "FAILED", "failed")
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "of the 160 MiB that it may (limits.memory" in told.stdout
        assert sidecar.run("wait", "--ready", "-t", "users").returncode in (3, 6)
        assert sidecar.run("get", "book", "-t", "prices").returncode == 0
        assert sidecar.running


def table(sidecar: Serving, name: str) -> dict:
    return next(each for each in sidecar.status()["tables"] if each["name"] == name)
