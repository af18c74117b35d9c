"""What the package promises as a whole."""

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import kafka_cache_client
from kafka_cache_client import AsyncClient, Client, _pb, errors

PACKAGE = Path(kafka_cache_client.__file__).parent


def public(client):
    return {
        name: inspect.signature(value).parameters
        for name, value in vars(client).items()
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods():
    assert public(Client) == public(AsyncClient)


def test_a_second_copy_of_the_stubs_lives_beside_ours(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE / "_pb", tmp_path / "other_stubs")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("cache_pb2", "admin_pb2"):
        other = importlib.import_module(f"other_stubs.{module}")
        ours = importlib.import_module(f"{_pb.__name__}.{module}")
        assert other is not ours
        for name in ours.DESCRIPTOR.message_types_by_name:
            sent = getattr(other, name)().SerializeToString()
            getattr(ours, name).FromString(sent)


def test_it_needs_neither_grpcio_status_nor_googleapis():
    script = (
        "import sys; import kafka_cache_client; "
        "print([name for name in ('grpc_status', 'google.rpc') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"[]"


def test_the_types_of_google_rpc_may_be_there_too():
    from google.rpc import error_details_pb2
    from kafka_cache_client import _status

    info = error_details_pb2.ErrorInfo(reason="R", metadata={"a": "b"})
    assert _status.ErrorInfo.FromString(info.SerializeToString()).metadata == {"a": "b"}


def test_every_error_is_exported_and_in_the_tree():
    for name in errors.__all__:
        assert getattr(kafka_cache_client, name) is getattr(errors, name)
        assert name in errors.__doc__


def test_modules_stay_small():
    for module in PACKAGE.glob("*.py"):
        assert len(module.read_text().splitlines()) <= 300, module.name
