"""Every problem names its setting, its source and what was expected; no secret is shown."""

import pytest

from sidecar.ops.config import ConfigError, load

GOOD = {"kafka": {"bootstrap.servers": "b"}, "tables": {"users": {}}}
SECRET = "hunter2"


def problems_of(path=None, environ=None, flags=GOOD):
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, flags)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "s.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "s.yaml"

    return write


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("LISTEN", "", "listen: expected a list, got nothing"),
        ("LISTEN", "[]", "listen: expected at least one address, got []"),
        ("LISTEN", "localhost", 'listen[0]: expected host:port, got "localhost"'),
        (
            "LISTEN",
            "::1:3",
            'listen[0]: expected host:port (an IPv6 address in brackets), got "::1:3"',
        ),
        ("LISTEN", "a:65536", 'listen[0]: expected a port from 0 to 65535, got "a:65536"'),
        ("LISTEN", "unix:x", 'listen[0]: expected unix:/// and an absolute path, got "unix:x"'),
        (
            "LISTEN",
            "unix:///" + "x" * 120,
            "listen[0]: expected a socket path of at most 107 bytes",
        ),
        ("HTTP", "9464", 'http: expected host:port, got "9464"'),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "",
            'kafka.bootstrap.servers: expected host:port,host:port, got ""',
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "a:0",
            'kafka.bootstrap.servers: expected a port from 1 to 65535, got "a:0"',
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "SSL://a:1",
            "kafka.bootstrap.servers: expected host or host:port (an IPv6 address in brackets",
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "[a]:1",
            'kafka.bootstrap.servers: expected an IPv6 address in the brackets, got "[a]:1"',
        ),
        ("KAFKA__CLIENT_ID", "", 'kafka.client.id: expected text that is not empty, got ""'),
        (
            "KAFKA__SECURITY_PROTOCOL",
            "TLS",
            "kafka.security.protocol: expected one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
        ),
        (
            "KAFKA__SASL_MECHANISM",
            "oauthbearer",
            "kafka.sasl.mechanism: this version does not have OAUTHBEARER yet, only PLAIN, SCRAM",
        ),
        (
            "KAFKA__ISOLATION_LEVEL",
            "none",
            'kafka.isolation.level: expected one of read_committed, read_uncommitted, got "none"',
        ),
        (
            "TABLES__USERS__FORMAT",
            "xml",
            'tables.users.format: expected one of bytes, utf8, json, avro, protobuf, got "xml"',
        ),
        (
            "TABLES__USERS__FORMAT",
            "avro",
            "tables.users.format: avro needs schema_file, or schema_registry.url",
        ),
        (
            "TABLES__USERS__UNWRAP",
            "debezium",
            "tables.users.unwrap: needs format json, avro or protobuf, got bytes",
        ),
        (
            "TABLES__USERS__SCHEMA_FILE",
            "users.avsc",
            "tables.users.schema_file: format bytes has no schema",
        ),
        (
            "TABLES__USERS__MESSAGE",
            "User",
            "tables.users.message: needs format protobuf and a schema_file",
        ),
        ("SCHEMA_REGISTRY__URL", "sr:8081", "schema_registry.url: expected http://host:port"),
        (
            "SCHEMA_REGISTRY__URL",
            "http://a:b@sr",
            "schema_registry.url: expected no user or password in it",
        ),
        (
            "TABLES__USERS__REBUILD",
            "keep",
            "tables.users.rebuild: expected one of keep_old, drop_old, refuse",
        ),
        (
            "TABLES__USERS__INDEXES",
            "{a: b}",
            "tables.users.indexes: expected a JSON path, which begins with $, as $.address.city",
        ),
        (
            "TABLES__USERS__PROJECT",
            "['$.a[0]']",
            "tables.users.project[0]: expected a JSON path of one or more members",
        ),
        (
            "TABLES__USERS__PROJECT",
            "['$.a.b', $.c, $.a]",
            "tables.users.project: $.a.b is a part of $.a: name one of them",
        ),
        (
            "TABLES__USERS__FILTER_ANY_OF",
            "[1]",
            "tables.users.filter_any_of: needs filter_path, which says where in the values to look",
        ),
        (
            "TABLES__USERS__FILTER_PATH",
            "$.a",
            "tables.users.filter_path: looks inside the values, whose format is bytes",
        ),
        ("TABLES__USERS__EXPIRE_AFTER_MS", "0", "tables.users.expire_after_ms: "),
        ("TABLES__USERS__INDEXES", "a", 'tables.users.indexes: expected a mapping, got "a"'),
        (
            "TABLES__USERS__TOPIC",
            "a b",
            'tables.users.topic: expected 1 to 249 of the characters a-z A-Z 0-9 . _ -, got "a b"',
        ),
        ("TABLES__USERS__TOPIC", "..", "tables.users.topic: expected 1 to 249 of the characters"),
        (
            "TABLES__USERS__HEADERS",
            "maybe",
            'tables.users.headers: expected true or false, got "maybe"',
        ),
        ("TABLES__USERS__REQUIRED", "1", "tables.users.required: expected true or false, got 1"),
        (
            "TABLES__USERS__MIN_ENTRIES",
            "-1",
            "tables.users.min_entries: expected at least 0, got -1",
        ),
        (
            "TABLES__USERS__MIN_ENTRIES",
            "many",
            'tables.users.min_entries: expected a whole number, got "many"',
        ),
        (
            "TABLES__USERS__STALE_AFTER_MS",
            "0",
            "tables.users.stale_after_ms: expected at least 1, got 0",
        ),
        (
            "TABLES__USERS__OPEN_TRANSACTION_WAIT_MS",
            "",
            "tables.users.open_transaction_wait_ms: expected a whole number, got nothing",
        ),
        ("LIMITS__KEYS", "0", "limits.keys: expected at least 1, got 0"),
        ("LIMITS__PAGE", "1.5", "limits.page: expected a whole number, got 1.5"),
        ("LIMITS__CALLS", "true", "limits.calls: expected a whole number, got true"),
        (
            "LIMITS__MESSAGE_BYTES",
            "9999999999",
            "limits.message_bytes: expected at most 2147483647, got 9999999999",
        ),
        ("LIMITS__WATCHES", "-1", "limits.watches: expected at least 0, got -1"),
        ("LIMITS__WATCH_BYTES", "1", "limits.watch_bytes: expected at least 1024, got 1"),
        ("LIMITS__BATCH_BYTES", "1", "limits.batch_bytes: expected at least 1024, got 1"),
    ],
)
def test_a_bad_value_is_told_with_path_expectation_and_variable(variable, text, problem):
    environ = {"SIDECAR_KAFKA__BOOTSTRAP_SERVERS": "b", f"SIDECAR_{variable}": text}
    (told,) = problems_of(environ=environ, flags={"tables": {"users": {}}})
    assert told.startswith(problem)
    assert told.endswith(f" (SIDECAR_{variable})")


def test_a_bad_value_is_told_with_its_line(file):
    told = problems_of(file("tables:\n  users:\n    headers: yess\n"))
    assert told == ['tables.users.headers: expected true or false, got "yess" (s.yaml, line 3)']


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"listen": ("x",)}, 'listen[0]: expected host:port, got "x" (--listen)'),
        ({"http": "x"}, 'http: expected host:port, got "x" (--http)'),
        ({"kafka": {"bootstrap.servers": ":"}}, "(--bootstrap-servers)"),
        ({"tables": {"users": {"topic": "*"}}}, "(--table)"),
        ({"tables": {"a/b": {}}}, "tables.a/b: not a name for a table: expected 1 to 249"),
    ],
)
def test_a_bad_value_is_told_with_its_flag(flags, told):
    (problem,) = problems_of(flags=GOOD | flags)
    assert told in problem


def test_everything_is_told_at_once(file):
    told = problems_of(
        file("kafka: {security.protocol: SASL_SSL, client: x}\nlisten: 0.0.0.0:1\nhttp: x\n"),
        environ={"SIDECAR_LIMITS__KEYS": "x", "SIDECAR_NONE": ""},
        flags={"tables": {"users": {"format": "x"}}},
    )
    assert sorted(line.partition(": ")[0] for line in told) == [
        "SIDECAR_NONE",
        "http",
        "kafka.bootstrap.servers",
        "kafka.client",
        "kafka.sasl.password",
        "kafka.sasl.username",
        "limits.keys",
        "listen",
        "tables.users.format",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "kafka: {bootstrap_servers: x}",
            "kafka.bootstrap_servers: unknown setting; did you mean bootstrap.servers",
        ),
        (
            "bootstrap.servers: x",
            "bootstrap.servers: unknown setting; did you mean kafka.bootstrap.servers?",
        ),
        (
            "tables: {users: {formt: x}}",
            "tables.users.formt: unknown setting; did you mean format?",
        ),
        (
            "limits: {zzz: x}",
            (
                "limits.zzz: unknown setting; known here: keys, page, message_bytes, batch_bytes, "
                "calls"
            ),
        ),
        ("tls: {cert: x}", "tls.cert: unknown setting; did you mean"),
        ("tabels: {}", "tabels: unknown setting; did you mean tables or tls?"),
    ],
)
def test_an_unknown_setting_lists_near_ones(file, text, told):
    problem = problems_of(file(text))[0]
    assert problem.startswith(told)
    assert problem.endswith("(s.yaml, line 1)")


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("SIDECAR_KAFKA_BOOTSTRAP_SERVERS", "SIDECAR_KAFKA__BOOTSTRAP_SERVERS"),
        ("SIDECAR_KAFKA__BOOTSTRAP_SERVER", "SIDECAR_KAFKA__BOOTSTRAP_SERVERS"),
        ("SIDECAR_TABLES__USERS__TOPIK", "SIDECAR_TABLES__USERS__TOPIC"),
        ("SIDECAR_LISTENS", "SIDECAR_LISTEN"),
    ],
)
def test_an_unknown_variable_lists_near_ones(variable, near):
    (problem,) = problems_of(environ={variable: SECRET})
    assert problem.startswith(f"{variable}: unknown setting; did you mean {near}")
    assert SECRET not in problem


def test_a_variable_that_may_mean_two_tables_is_refused():
    flags = GOOD | {"tables": {"a.b": {}, "a-b": {}}}
    (problem,) = problems_of(environ={"SIDECAR_TABLES__A_B__FORMAT": "json"}, flags=flags)
    assert problem == "SIDECAR_TABLES__A_B__FORMAT: may mean any of the tables a.b, a-b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "kafka: [",
            "s.yaml: line 1, column 9: while parsing a flow node, expected the node content",
        ),
        ("a: 1\n b: 2", "s.yaml: line 2, column 3: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "s.yaml: line 2, column 1: expected a single document"),
        ("? [a]\n: b", "s.yaml: line 1, column 3: expected a name"),
        (b"a: \xff", "s.yaml: is no text: invalid start byte at position 3"),
        ("a: \x00", "s.yaml: is no text: special characters are not allowed"),
        ("a: *b", "s.yaml: line 1, column 4: found undefined alias"),
        ("x: &x {y: *x}", "s.yaml: line 1, column 4: nested too deep"),
        ("a: 2026-13-45", "s.yaml: is no YAML: a value that cannot be read"),
        ("a: !!python/object:os.system {}", "a: unknown setting"),
    ],
)
def test_bad_yaml_is_told_with_line_and_column(file, text, told):
    assert problems_of(file(text))[0].startswith(told)


def test_a_key_that_stands_twice_is_told_with_both_lines(file):
    text = "kafka: {}\ntables:\n  users:\n    topic: a\n    topic: b\nkafka: {}\n"
    assert problems_of(file(text)) == [
        "tables.users.topic: stands twice in one mapping, first in line 4 (s.yaml, line 5)",
        "kafka: stands twice in one mapping, first in line 1 (s.yaml, line 6)",
    ]


@pytest.mark.parametrize("text", ["[a]", "hello", "3"])
def test_a_file_that_is_no_mapping_is_refused(file, text):
    assert problems_of(file(text))[0].startswith("configuration: expected a mapping of settings")


def test_a_section_that_is_no_mapping_is_refused(file):
    told = problems_of(file(f"kafka: {SECRET}\ntables:\n  users: [a]\n"))
    assert told == [
        "kafka: expected a mapping of settings, got one value (s.yaml, line 1)",
        "tables.users: expected a mapping of settings, got a list (s.yaml, line 3)",
    ]


@pytest.mark.parametrize(("path", "why"), [("none.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told(file, path, why):
    assert problems_of(path)[0].startswith(f"{path}: cannot be read: {why}")


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_an_address_wider_than_loopback_needs_tls(address, tmp_path):
    (problem,) = problems_of(flags=GOOD | {"listen": (address, "localhost:1", "unix:///x")})
    assert problem == (
        "listen: expected tls.certificate and tls.key with an address wider than loopback, "
        f"got {address} without them (--listen)"
    )
    pem = tmp_path / "x.pem"
    pem.touch()
    tls = {"certificate": str(pem), "key": str(pem)}
    assert load(None, {}, GOOD | {"listen": (address,), "tls": tls}).tls.key == str(pem)


def test_the_http_address_may_be_wider_than_loopback():
    assert load(None, {"SIDECAR_HTTP": "0.0.0.0:9464"}, GOOD).http == ("0.0.0.0", 9464)


def test_files_that_are_used_must_be_there(tmp_path):
    ca = tmp_path / "ca.pem"
    environ = {
        "SIDECAR_KAFKA__SECURITY_PROTOCOL": "SSL",
        "SIDECAR_KAFKA__SSL_CA_LOCATION": str(ca),
        "SIDECAR_KAFKA__SSL_CERTIFICATE_LOCATION": str(tmp_path),
        "SIDECAR_TLS__CERTIFICATE": str(ca),
    }
    assert problems_of(environ=environ) == [
        (
            f'kafka.ssl.ca.location: expected a PEM file, got "{ca}" (No such file or directory) '
            "(SIDECAR_KAFKA__SSL_CA_LOCATION)"
        ),
        (
            f'kafka.ssl.certificate.location: expected a PEM file, got "{tmp_path}" '
            "(Is a directory) (SIDECAR_KAFKA__SSL_CERTIFICATE_LOCATION)"
        ),
        (
            "kafka.ssl.key.location: expected a PEM file, "
            "got nothing: a certificate and its key are given together"
        ),
        (
            f'tls.certificate: expected a PEM file, got "{ca}" (No such file or directory) '
            "(SIDECAR_TLS__CERTIFICATE)"
        ),
        "tls.key: expected a PEM file, got nothing: a certificate and its key are given together",
    ]


# Secrets

LOGIN = {
    "SIDECAR_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "SIDECAR_KAFKA__SASL_USERNAME": "app",
}


def test_a_login_needs_a_user_and_a_password():
    assert problems_of(environ={"SIDECAR_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}) == [
        "kafka.sasl.username: expected a user with security.protocol SASL_SSL, got nothing",
        (
            "kafka.sasl.password: expected sasl.password.file or SIDECAR_KAFKA__SASL_PASSWORD "
            "with security.protocol SASL_SSL, got nothing"
        ),
    ]


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password"])
def test_a_secret_is_refused_in_the_file_and_in_flags(file, name):
    variable = "SIDECAR_KAFKA__" + name.upper().replace(".", "_")
    for path, flags, origin in [
        (file(f"kafka: {{{name}: {SECRET}}}"), GOOD, "s.yaml, line 1"),
        (None, GOOD | {"kafka": {"bootstrap.servers": "b", name: SECRET}}, "--bootstrap-servers"),
    ]:
        assert problems_of(path, flags=flags) == [
            (
                f"kafka.{name}: a secret is given by kafka.{name}.file or by the environment "
                f"variable {variable}, not here ({origin})"
            )
        ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "expected a file that can be read (No such file or directory)"),
        (b"", "expected a file that holds the secret and nothing else"),
        (b"\n", "expected a file that holds the secret and nothing else"),
        (b"x" * 70_000, "expected a file that holds the secret and nothing else"),
        (b"\xff", "expected a file of UTF-8 text"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_told(tmp_path, content, told):
    path = tmp_path / "p"
    if content is not None:
        path.write_bytes(content)
    variable = "SIDECAR_KAFKA__SASL_PASSWORD_FILE"
    problems = problems_of(environ=LOGIN | {variable: str(path)})
    assert problems == [f'kafka.sasl.password.file: {told}, got "{path}" ({variable})']


def test_a_secret_is_given_once(tmp_path):
    path = tmp_path / "p"
    path.write_text(SECRET)
    environ = LOGIN | {
        "SIDECAR_KAFKA__SASL_PASSWORD": SECRET,
        "SIDECAR_KAFKA__SASL_PASSWORD_FILE": str(path),
    }
    assert problems_of(environ=environ) == [
        (
            "kafka.sasl.password.file: expected this or SIDECAR_KAFKA__SASL_PASSWORD, got both "
            "(SIDECAR_KAFKA__SASL_PASSWORD_FILE)"
        )
    ]


@pytest.mark.parametrize("by", ["file", "environment"])
def test_no_secret_is_shown(tmp_path, by):
    path = tmp_path / "p"
    path.write_text(SECRET + "\n")
    environ = LOGIN | {"SIDECAR_KAFKA__SSL_KEY_PASSWORD": SECRET}
    if by == "file":
        environ["SIDECAR_KAFKA__SASL_PASSWORD_FILE"] = str(path)
    else:
        environ["SIDECAR_KAFKA__SASL_PASSWORD"] = SECRET
    config = load(None, environ, GOOD)
    assert config.kafka.sasl_password == SECRET
    for shown in (repr(config), str(config), config.to_yaml(), config.model_dump_json()):
        assert SECRET not in shown


def test_no_secret_is_shown_by_other_settings_errors(file):
    path = file(f"kafka: {{sasl.pasword: {SECRET}, sasl.password: {SECRET}}}\nsasl: {SECRET}")
    environ = LOGIN | {
        "SIDECAR_KAFKA__SASL_PASSWORD": SECRET,
        "SIDECAR_KAFKA__SASL_PASWORD": SECRET,
        "SIDECAR_LIMITS__KEYS": "x",
    }
    with pytest.raises(ConfigError) as caught:
        load(path, environ, GOOD)
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("mark", ["*", "!", "!x!", "&a &", "!<", "'", '"', "{", "@", "%", "? "])
def test_no_secret_is_shown_when_it_breaks_the_yaml(file, mark):
    path = file(f"kafka:\n  sasl.password: {mark}{SECRET}\n")
    assert SECRET not in str(problems_of(path))
