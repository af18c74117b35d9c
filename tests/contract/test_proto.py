"""The contract: it is linted, it only ever grows, and the stubs are made from it."""

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
FIRST_VERSION = PROTO / "first-version.binpb"


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["buf", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def changed_contract(tmp_path: Path, old: str, new: str) -> Path:
    changed = tmp_path / "proto"
    shutil.copytree(PROTO, changed)
    file = changed / "kafkacache/v1/cache.proto"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return changed


def test_the_contract_is_linted():
    outcome = buf("lint", PROTO)
    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_the_contract_breaks_nothing_of_its_first_version():
    outcome = buf("breaking", PROTO, "--against", FIRST_VERSION)
    assert (outcome.returncode, outcome.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  bytes key = 2;\n", "  bytes the_key = 2;\n"),
        ("  Presence presence = 1;\n", "  Presence presence = 9;\n"),
        ("  rpc Scan(ScanRequest) returns (stream ScanResponse);\n", ""),
    ],
    ids=["renamed field", "renumbered field", "removed RPC"],
)
def test_a_breaking_change_is_seen(tmp_path, old, new):
    changed = changed_contract(tmp_path, old, new)
    assert buf("breaking", changed, "--against", FIRST_VERSION).returncode != 0


def test_a_missing_comment_is_seen(tmp_path):
    changed = changed_contract(tmp_path, "  // Table name;", "  bool bare = 99;\n  // Table name;")
    assert buf("lint", changed).returncode != 0


def test_the_stubs_are_made_from_the_contract(tmp_path):
    made = subprocess.run(
        [PROTO / "generate", tmp_path], capture_output=True, text=True, timeout=170, check=False
    )
    assert made.returncode == 0, made.stderr
    for package in ("sidecar/_pb", "clients/python/kafka_cache_client/_pb"):
        files = sorted(path.name for path in (tmp_path / package).iterdir())
        kept = sorted(path.name for path in (ROOT / package).glob("*.py*"))
        assert files == kept
        _, differing, errors = filecmp.cmpfiles(
            tmp_path / package, ROOT / package, files, shallow=False
        )
        assert (differing, errors) == ([], [])
