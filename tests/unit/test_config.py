"""One file, the environment and flags make one configuration, or a list of all that is wrong."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ops.config import ConfigError, load, notes, schema

SMALLEST = {"kafka": {"bootstrap.servers": "localhost:9092"}, "tables": {"users": {}}}

# The example of the documented contract.
DOCUMENTED = """
kafka:
  bootstrap.servers: localhost:9092
  client.id: sidecar
  security.protocol: PLAINTEXT
  sasl.mechanism: SCRAM-SHA-512
  sasl.username: app
  sasl.password.file: /run/secrets/kafka
  ssl.ca.location: /run/tls/ca.pem
  isolation.level: read_committed
listen: [127.0.0.1:50051]
http: 127.0.0.1:9464
tables:
  users:
    topic: users
    format: bytes
    headers: false
    required: true
    min_entries: 0
    rebuild: keep_old
    stale_after_ms: 5000
    open_transaction_wait_ms: 75000
    indexes: {}
limits: {}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "sidecar.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def with_settings(**sections):
    return {
        name: SMALLEST.get(name, {}) | sections.get(name, {}) for name in {*SMALLEST, *sections}
    }


def test_servers_and_a_table_are_enough():
    config = load(None, {}, SMALLEST)
    assert config.kafka.bootstrap == (("localhost", 9092),)
    assert config.kafka.isolation_level == "read_committed"
    assert config.listen == ("127.0.0.1:50051",)
    assert config.http == ("127.0.0.1", 9464)
    assert config.tables["users"].topic == "users"
    assert config.tables["users"].open_transaction_wait_ms == 75_000
    limits = config.limits
    assert (limits.keys, limits.page, limits.calls) == (1000, 1000, 1000)
    assert limits.message_bytes == 4 * 1024 * 1024
    assert limits.batch_bytes == 128 * 1024 * 1024
    assert config.tls is None


def test_the_documented_example_is_accepted_as_it_stands(file):
    config = load(file(DOCUMENTED), {}, {})
    assert config == load(
        None, {}, with_settings(kafka=yaml.safe_load(DOCUMENTED)["kafka"])
    ).model_copy(update={"listen": config.listen})


def test_what_has_no_effect_is_noted(file):
    noted = notes(load(file(DOCUMENTED), {}, {}))
    assert noted == (
        "kafka.sasl.username: has no effect with security.protocol PLAINTEXT",
        "kafka.sasl.password.file: has no effect with security.protocol PLAINTEXT",
        "kafka.ssl.ca.location: has no effect with security.protocol PLAINTEXT",
    )
    assert notes(load(None, {}, SMALLEST)) == ()


def test_environment_overrides_the_file_and_flags_override_both(file):
    path = file("kafka: {bootstrap.servers: f, client.id: f}\nhttp: f:1\ntables: {users: }\n")
    environ = {"SIDECAR_KAFKA__CLIENT_ID": "e", "SIDECAR_HTTP": "e:1"}
    config = load(path, environ, {"http": "g:1"})
    assert config.kafka.bootstrap == (("f", 9092),)
    assert config.kafka.client_id == "e"
    assert config.http == ("g", 1)


leaves = {
    ("kafka", "client.id"): st.text("abc", min_size=1),
    ("limits", "keys"): st.integers(1, 10**6),
    ("tables", "users", "headers"): st.booleans(),
    ("tables", "users", "stale_after_ms"): st.integers(1, 10**6),
    ("tables", "users", "format"): st.sampled_from(["bytes", "utf8", "json"]),
    ("tables", "users", "topic"): st.text("abc._-", min_size=3),
}
layers = st.fixed_dictionaries({}, optional=leaves)


def tree_of(leaves, base):
    tree = {name: dict(section) for name, section in base.items()}
    for path, value in leaves.items():
        section = tree
        for name in path[:-1]:
            section[name] = dict(section.get(name) or {})
            section = section[name]
        section[path[-1]] = value
    return tree


def variables_of(leaves):
    text = {True: "true", False: "false"}
    return {
        "SIDECAR_" + "__".join(path).upper().replace(".", "_"): text.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
        for path, value in leaves.items()
    }


@given(in_file=layers, in_environment=layers, in_flags=layers)
def test_sources_merge_setting_by_setting(tmp_path_factory, in_file, in_environment, in_flags):
    path = tmp_path_factory.mktemp("config") / "file.yaml"
    path.write_text(yaml.safe_dump(tree_of(in_file, SMALLEST)))
    config = load(str(path), variables_of(in_environment), tree_of(in_flags, {}))
    expected = load(None, {}, tree_of(in_file | in_environment | in_flags, SMALLEST))
    assert config == expected


@given(layers)
def test_the_dump_loads_to_the_same_configuration(tmp_path_factory, leaves):
    config = load(None, {}, tree_of(leaves, SMALLEST))
    path = tmp_path_factory.mktemp("config") / "file.yaml"
    path.write_text(config.to_yaml())
    again = load(str(path), {}, {})
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_the_dump_lists_tables_by_name():
    config = load(None, {}, with_settings(tables={"zebra": {}, "ant": {}}))
    assert list(yaml.safe_load(config.to_yaml())["tables"]) == ["ant", "users", "zebra"]


def test_a_flag_that_was_not_given_overrides_nothing():
    flags = SMALLEST | {"http": None, "listen": ()}
    assert load(None, {"SIDECAR_HTTP": "h:1"}, flags).http == ("h", 1)


def test_a_flag_names_a_table_that_the_file_describes(file):
    path = file("kafka: {bootstrap.servers: b}\ntables: {users: {topic: t1, format: json}}")
    config = load(path, {}, {"tables": {"users": {"topic": "users"}}})
    assert config.tables["users"].topic == "users"
    assert config.tables["users"].format == "json"


def test_naming_a_table_again_keeps_its_topic(file):
    path = file("kafka: {bootstrap.servers: b}\ntables: {users: {topic: t1}}")
    config = load(path, {"SIDECAR_TABLES__USERS__FORMAT": "json"}, {"tables": {"users": {}}})
    assert config.tables["users"].topic == "t1"


def test_text_is_taken_as_it_is_written(file):
    path = file("kafka: {bootstrap.servers: b}\ntables:\n  on: {topic: 0123}\n  x: {topic: no}\n")
    config = load(path, {}, {})
    assert {name: table.topic for name, table in config.tables.items()} == {"on": "0123", "x": "no"}


def test_choices_are_taken_in_librdkafkas_lower_case(tmp_path):
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    kafka = SMALLEST["kafka"] | {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "plain",
        "sasl.username": "app",
        "sasl.password.file": str(password),
    }
    config = load(None, {}, with_settings(kafka=kafka))
    assert config.kafka.security_protocol == "SASL_PLAINTEXT"
    assert config.kafka.sasl_mechanism == "PLAIN"
    assert config.kafka.sasl_password == "hunter2"


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("a", [("a", 9092)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        ("[::1]:9093,[fe80::1]", [("::1", 9093), ("fe80::1", 9092)]),
    ],
)
def test_servers_are_split(text, servers):
    config = load(None, {"SIDECAR_KAFKA__BOOTSTRAP_SERVERS": text}, {"tables": {"t": {}}})
    assert list(config.kafka.bootstrap) == servers


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:1,unix:///run/s.sock", ["127.0.0.1:1", "unix:///run/s.sock"]),
        ("[localhost:0, '[::1]:2']", ["localhost:0", "[::1]:2"]),
        ("[::1]:50051", ["[::1]:50051"]),
    ],
)
def test_addresses_to_listen_on_are_a_list_or_have_commas(text, listen):
    assert list(load(None, {"SIDECAR_LISTEN": text}, SMALLEST).listen) == listen


def test_a_list_of_addresses_may_be_text_in_the_file_too(file):
    path = file("kafka: {bootstrap.servers: b}\ntables: {t: }\nlisten: localhost:1, localhost:2\n")
    assert load(path, {}, {}).listen == ("localhost:1", "localhost:2")


def test_a_table_may_come_from_the_environment_alone():
    environ = {
        "SIDECAR_KAFKA__BOOTSTRAP_SERVERS": "b",
        "SIDECAR_TABLES__USERS__TOPIC": "all-users",
        "SIDECAR_TABLES__A__B__FORMAT": "json",
    }
    tables = load(None, environ, {}).tables
    assert tables["users"].topic == "all-users"
    assert tables["a__b"].topic == "a__b"


@pytest.mark.parametrize("name", ["Users", "USERS", "us.ers", "us-ers"])
def test_the_environment_finds_a_table_whatever_its_case_and_dots(name):
    variable = f"SIDECAR_TABLES__{name.upper().replace('.', '_').replace('-', '_')}__FORMAT"
    flags = {"kafka": {"bootstrap.servers": "b"}, "tables": {name: {}}}
    config = load(None, {variable: "json"}, flags)
    assert {name: table.format for name, table in config.tables.items()} == {name: "json"}


def test_variables_that_are_no_settings_are_left_alone():
    environ = {
        "SIDECAR_ENDPOINT": "unix:///x",
        "SIDECAR_SERVICE_HOST": "10.0.0.1",
        "SIDECAR_SERVICE_PORT": "50051",
        "SIDECAR_SERVICE_PORT_HTTP": "9464",
        "SIDECAR_PORT": "tcp://10.0.0.1:50051",
        "SIDECAR_PORT_50051_TCP_ADDR": "10.0.0.1",
        "SIDECAR_METRICS_SERVICE_HOST": "10.0.0.1",
        "HOME": "/root",
    }
    assert load(None, environ, SMALLEST) == load(None, {}, SMALLEST)


def test_tables_become_the_cores_definitions():
    flags = with_settings(tables={"users": {"format": "json", "required": False}, "ant": {}})
    environ = {"SIDECAR_KAFKA__ISOLATION_LEVEL": "read_uncommitted"}
    ant, users = load(None, environ, flags).definitions()
    assert (ant.name, users.name, users.topic) == ("ant", "users", "users")
    assert (users.format, users.required, users.isolation) == ("json", False, "read_uncommitted")


def test_the_schema_knows_every_setting_of_the_documented_example():
    tree = schema()
    example = yaml.safe_load(DOCUMENTED)
    assert set(example) <= set(tree["properties"])
    definitions = tree["$defs"]
    assert set(example["kafka"]) <= set(definitions["KafkaSettings"]["properties"])
    assert set(example["tables"]["users"]) <= set(definitions["TableSettings"]["properties"])
    assert tree["required"] == ["kafka", "tables"]


def test_the_schema_has_no_place_for_secrets():
    kafka = schema()["$defs"]["KafkaSettings"]["properties"]
    assert "sasl.password.file" in kafka
    assert not {"sasl.password", "ssl.key.password"} & set(kafka)


def test_a_configuration_cannot_be_changed():
    config = load(None, {}, SMALLEST)
    with pytest.raises(ValueError, match="frozen"):
        config.http = ("x", 1)


def test_an_empty_file_lacks_servers_and_tables(file):
    with pytest.raises(ConfigError) as caught:
        load(file(""), {}, {})
    assert [problem.path for problem in caught.value.problems] == [
        "kafka.bootstrap.servers",
        "tables",
    ]


def test_numbers_that_may_be_left_out_come_from_the_environment_too():
    config = load(
        None,
        {
            "SIDECAR_KAFKA__BOOTSTRAP_SERVERS": "a:1",
            "SIDECAR_TABLES__USERS__TOPIC": "users",
            "SIDECAR_TABLES__USERS__DELETE_RETENTION_MS": "5",
            "SIDECAR_LIMITS__MEMORY": "1073741824",
        },
        {},
    )
    assert config.limits.memory == 1 << 30
    assert config.tables["users"].delete_retention_ms == 5


DUMPED = {"users": {"topic": "prod.users", "format": "json", "headers": True}}


def test_a_dump_needs_no_servers_and_says_what_its_table_is():
    config = load(None, {}, {}, DUMPED)
    users = config.tables["users"]
    assert (users.topic, users.format, users.headers) == ("prod.users", "json", True)
    assert config.kafka.bootstrap == ()


def test_a_table_of_the_file_is_as_the_file_says_whatever_its_dump_does(file):
    path = file("""
      kafka:
        security.protocol: SASL_SSL
        sasl.password.file: /nowhere
        isolation.level: read_uncommitted
      tables: {users: {}}
    """)
    config = load(path, {}, {}, DUMPED | {"flags": {"topic": "f", "format": "utf8"}})
    users = config.tables["users"]
    assert (users.topic, users.format, users.headers) == ("users", "bytes", False)
    assert config.tables["flags"].format == "utf8"
    assert config.kafka.isolation_level == "read_uncommitted"
    assert not config.kafka.uses_sasl


def test_the_environment_overrides_what_a_dump_says():
    variables = {"SIDECAR_TABLES__USERS__FORMAT": "bytes"}
    users = load(None, variables, {}, DUMPED).tables["users"]
    assert (users.topic, users.format) == ("prod.users", "bytes")


def test_a_table_that_no_dump_is_given_for_is_a_mistake(file):
    with pytest.raises(ConfigError) as caught:
        load(file("tables: {users: {}, flags: {}}"), {}, {}, DUMPED)
    (problem,) = caught.value.problems
    assert problem.path == "tables.flags"
    assert "--from flags=FILE" in problem.message


def test_what_is_wrong_with_a_dumps_table_is_told_as_a_settings_fault():
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {}, {"a b": {"topic": "t"}, "users": {"topic": "t", "format": "avro"}})
    told = str(caught.value)
    assert "tables.a b: not a name for a table" in told
    assert "tables.users.format: " in told
    assert "schema_file, or schema_registry.url" in told
    assert "(--from)" in told
