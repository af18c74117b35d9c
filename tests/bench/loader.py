"""The Go program in load/: built once, run for every measurement."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["MissingError", "build", "command", "run"]

_HERE = Path(__file__).parent
_BINARY = _HERE.parents[1] / ".cache" / "bench-load"


class MissingError(RuntimeError):
    """Something that a measurement needs is not there; the message says what to do."""


def build() -> str:
    """Build the program into .cache/; give the versions of what it is made of."""
    go = shutil.which("go")
    if go is None:
        raise MissingError("the load generator needs `go` on the PATH")
    _BINARY.parent.mkdir(exist_ok=True)
    source = _HERE / "load"
    done = subprocess.run(
        [go, "build", "-o", str(_BINARY), "."], cwd=source, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise MissingError(f"the load generator could not be built:\n{done.stderr}")
    return _versions((source / "go.mod").read_text())


def _versions(module: str) -> str:
    wanted = ("google.golang.org/grpc", "twmb/franz-go ", "redis/go-redis")
    lines = [line.strip().removeprefix("github.com/") for line in module.splitlines()]
    return ", ".join(line for line in lines if any(name in line for name in wanted))


def command(name: str, **options: Any) -> list[str]:
    """Give the command line of one of its commands; an option's _ stands for -."""
    flags = [f"-{option.replace('_', '-')}={value}" for option, value in options.items()]
    return [str(_BINARY), name, *flags]


def run(name: str, timeout_s: float = 300, **options: Any) -> dict[str, Any]:
    """Run one of its commands to its end and give what it measured."""
    line = command(name, **options)
    done = subprocess.run(line, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(line[1:])}: {done.stderr.strip()}")
    return json.loads(done.stdout)
