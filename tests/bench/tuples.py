"""What an entry costs as a tuple in one Python dict: (value, partition, offset, timestamp).

    python tests/bench/tuples.py ENTRIES VALUE_SIZE

The resident memory before and after is compared; it prints one JSON object.
"""

import json
import os
import sys
from pathlib import Path


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def table_of(entries: int, value_size: int) -> dict[bytes, tuple[bytes, int, int, int]]:
    padding = b"v" * value_size
    begun_ms = 1_700_000_000_000
    return {
        b"key-%012d" % number: (
            (b"%d" % number + padding)[:value_size],  # each its own object, as decoded from a batch
            number % 4,
            number + 1000,
            begun_ms + number // 100,
        )
        for number in range(entries)
    }


def main() -> None:
    entries, value_size = map(int, sys.argv[1:])
    before = resident_bytes()
    table = table_of(entries, value_size)
    print(json.dumps({"bytes_per_entry": (resident_bytes() - before) / len(table)}))


if __name__ == "__main__":
    main()
