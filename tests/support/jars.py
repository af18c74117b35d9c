"""The jars of a Kafka broker, fetched once by Maven.

They are kept in `.cache/kafka-<version>` at the project's root. A lock file
lets one process fetch while the others wait, and the folder gets its name
only when it is whole, so a fetch that was cut off is done again.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

__all__ = ["KAFKA_VERSION", "JarsError", "kafka_jars"]

KAFKA_VERSION = "4.4.0"
_POM = Path(__file__).parent / "jars" / "pom.xml"
_CACHE = Path(__file__).parents[2] / ".cache"


class JarsError(RuntimeError):
    """Maven is missing, or it could not fetch the jars."""


def kafka_jars(version: str = KAFKA_VERSION) -> Path:
    """Give the folder of this version's jars, fetching them on first use."""
    folder = _CACHE / f"kafka-{version}"
    if folder.is_dir():
        return folder
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / f"kafka-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(version, folder)
    return folder


def _fetch(version: str, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise JarsError("the Kafka tests need `mvn` and `java` on the PATH")
    half = folder.with_name(folder.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    command = [maven, "-q", "-B", "-f", str(_POM), f"-Dkafka.version={version}",
               "-DincludeScope=runtime", f"-DoutputDirectory={half}",
               "dependency:copy-dependencies"]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0 or not any(half.glob("kafka_2.13-*.jar")):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise JarsError(f"mvn could not fetch Kafka {version} (exit {done.returncode}):\n{tail}")
    half.rename(folder)
