"""Whether a configuration's file has changed, and what may change while a sidecar runs."""

import pytest

from sidecar.ops.config import ConfigError
from sidecar.ops.configfile import ConfigFile, NotTaken, check_reload

TEXT = """
kafka: {bootstrap.servers: "kafka:9092"}
tables:
  users: {format: json}
  flags: {rebuild: refuse}
"""


def config(tmp_path, text=TEXT):
    path = tmp_path / "sidecar.yaml"
    path.write_text(text)
    return ConfigFile(str(path), {}, {}).load()


def test_a_file_has_changed_once_it_holds_something_else(tmp_path):
    path = tmp_path / "sidecar.yaml"
    path.write_text(TEXT)
    file = ConfigFile(str(path), {}, {})
    assert file.load().tables["users"].format == "json"
    path.write_text(TEXT)
    assert not file.changed()
    (tmp_path / "new").write_text(TEXT.replace("json", "utf8"))
    path.unlink()
    assert not file.changed()  # it is being written
    path.symlink_to(tmp_path / "new")
    assert file.changed()
    assert file.load().tables["users"].format == "utf8"
    assert not file.changed()


def test_a_file_with_a_mistake_is_told_once(tmp_path):
    path = tmp_path / "sidecar.yaml"
    path.write_text(TEXT)
    file = ConfigFile(str(path), {}, {})
    path.write_text("tables: [")
    assert file.changed()
    with pytest.raises(ConfigError):
        file.load()
    assert not file.changed()


def test_without_a_file_nothing_changes():
    assert not ConfigFile(None, {}, {}).changed()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: json", "format: json, filter_key_prefix: a"),
        ("format: json", "format: utf8, stale_after_ms: 9"),
        ("rebuild: refuse", "rebuild: refuse, min_entries: 3"),
        ("rebuild: refuse", "rebuild: keep_old, headers: true"),
    ],
)
def test_how_tables_are_defined_may_change(tmp_path, old, new):
    check_reload(config(tmp_path), config(tmp_path, TEXT.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("kafka:9092", "kafka:9093", "kafka"),
        ("users: {format: json}", "", "tables.users (removed)"),
        ("users: {format: json}", "users: {format: json}\n  more: {}", "tables.more (added)"),
        ("format: json", "format: json, topic: other", "tables.users.topic"),
        ("rebuild: refuse", "rebuild: refuse, headers: true",
         "tables.flags (to be read anew, and rebuild is refuse)"),
        ("tables:", "limits: {keys: 5}\ntables:", "limits"),
    ],
)  # fmt: skip
def test_what_takes_a_restart_is_named(tmp_path, old, new, named):
    assert TEXT.replace(old, new) != TEXT
    with pytest.raises(NotTaken) as caught:
        check_reload(config(tmp_path), config(tmp_path, TEXT.replace(old, new)))
    assert str(caught.value) == f"{named}: changed, which takes a restart of the sidecar"
