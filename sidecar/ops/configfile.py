"""The configuration of a sidecar that runs, and whether its file has changed since.

A ConfigMap's file changes by the swap of a symbolic link, and an editor may write a new file in
the place of the old one, so what the path leads to is read and compared as a whole. A file that
cannot be read now is no change: it may be in the middle of one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import Config, load

__all__ = ["ConfigFile", "NotTaken", "check_reload"]


class ConfigFile:
    """Where a configuration comes from.

    Args:
        path: of the file; None: there is none, so nothing changes.
        environ: variables, as `config.load` takes them.
        flags: the same.
        dumps: the same.
    """

    def __init__(
        self,
        path: str | None,
        environ: Mapping[str, str],
        flags: Mapping[str, Any],
        dumps: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._environ = dict(environ)
        self._flags = flags
        self._dumps = dumps
        self._seen = self._text()

    def load(self) -> Config:
        """The configuration as it is now.

        Raises:
            ConfigError: it cannot be used; the message names each setting.
        """
        self._seen = self._text()
        return load(self._path, self._environ, self._flags, self._dumps)

    def changed(self) -> bool:
        """The file is not as it was when it was last loaded."""
        text = self._text()
        return text is not None and text != self._seen

    def _text(self) -> bytes | None:
        try:
            return None if self._path is None else Path(self._path).read_bytes()
        except OSError:
            return None


class NotTaken(Exception):  # noqa: N818 (a refusal)
    """A newer configuration is sound, but cannot be taken while the sidecar runs."""


def check_reload(before: Config, after: Config) -> None:
    """What may change while a sidecar runs: how its tables are defined, not which there are.

    Raises:
        NotTaken: something else changed; names it.
    """
    fields = [name for name in Config.model_fields if name != "tables"]
    other = [name for name in fields if getattr(before, name) != getattr(after, name)]
    names = sorted(before.tables.keys() ^ after.tables.keys())
    other += [f"tables.{name} ({_what(name in after.tables)})" for name in names]
    known = {definition.name: definition for definition in before.definitions()}
    for definition in after.definitions():
        name, old = definition.name, known.get(definition.name, definition)
        if definition.topic != old.topic:
            other.append(f"tables.{name}.topic")
        elif after.tables[name].rebuild == "refuse" and not definition.same_table(old):
            other.append(f"tables.{name} (to be read anew, and rebuild is refuse)")
    if other:
        raise NotTaken(f"{', '.join(other)}: changed, which takes a restart of the sidecar")


def _what(added: bool) -> str:  # noqa: FBT001
    return "added" if added else "removed"
