"""What answers at a broker's address, and the one sentence that says what is wrong with it."""

import asyncio
import logging
import socket
import ssl
import struct
from contextlib import asynccontextmanager

import pytest
import uvloop
from support.fake_broker import CLOSE, FakeCluster, always
from support.following import addresses, boottime, following
from support.process import free_port
from support.producing import produce
from support.tls import make_tls

from sidecar.core.progress import Wait
from sidecar.core.served import TableState
from sidecar.kafka.cluster import Cluster
from sidecar.kafka.connection import open_connection
from sidecar.kafka.errors import BrokerFault, Unsupported
from sidecar.kafka.settings import KafkaSettings


@asynccontextmanager
async def serving(handle, tls_files=None):
    """A TCP server that does what it is told with each connection; gives its port."""
    context = None
    if tls_files is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls_files.broker_keystore)
    handlers = set()

    async def serve(reader, writer):
        handlers.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the end of a connection
        finally:
            writer.transport.abort()
            handlers.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in handlers:
            each.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def silent(reader, writer):
    await asyncio.Event().wait()


async def closing(reader, writer):
    await reader.read(1)


async def resetting(reader, writer):
    await reader.read(1)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def answering(data, then=closing):
    async def answer(reader, writer):
        await reader.read(1)
        writer.write(data)
        await writer.drain()
        await then(reader, writer)

    return answer


def framed(data):
    return struct.pack(">i", len(data)) + data


async def fault_of(host="127.0.0.1", port=0, **settings):
    """What opening a connection fails with; it must be one sentence that names the address."""
    settings = {"request_timeout_s": 0.3, **settings}
    with pytest.raises(BrokerFault) as raised:
        await open_connection(KafkaSettings(bootstrap=((host, port),), **settings), host, port)
    # Closed transports let go of their sockets in the loop's next rounds.
    await asyncio.sleep(0.01)
    assert "\n" not in str(raised.value)
    return raised.value


# Not Kafka


CLOSED = "closed the connection; is it a Kafka listener for security.protocol PLAINTEXT?"
SILENCE = "did not answer within 0.3 s; is it a Kafka listener for security.protocol PLAINTEXT"
NO_KAFKA = "does not answer like a Kafka broker"
STRANGERS = {
    "silent": (silent, SILENCE),
    "closing": (closing, CLOSED),
    "resetting": (resetting, CLOSED),
    "redis": (answering(b"-ERR unknown command\r\n", silent), SILENCE),
    "redis that closes": (answering(b"-ERR unknown command\r\n"), CLOSED),
    "http": (answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), CLOSED),
    "negative length": (answering(b"\xff\xff\xff\xff", silent), NO_KAFKA),
    "empty frame": (answering(framed(b""), silent), NO_KAFKA),
    "other correlation id": (answering(framed(struct.pack(">ihi", 9, 0, 0)), silent), NO_KAFKA),
    "torn answer": (answering(framed(struct.pack(">ihi", 1, 0, 9)), silent), NO_KAFKA),
    "no list": (answering(framed(struct.pack(">ihi", 1, 0, -1)), silent), NO_KAFKA),
    "upside down": (
        answering(framed(struct.pack(">ihihhh", 1, 0, 1, 3, 9, 1)), silent),
        NO_KAFKA,
    ),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_that_is_no_kafka_broker_is_told_in_one_sentence(kind, loop):
    handle, words = STRANGERS[kind]

    async def meet():
        async with serving(handle) as port:
            fault = await fault_of(port=port)
            assert f"127.0.0.1:{port} {words}" in str(fault)
            assert fault.wait is Wait.BROKER

    run = uvloop.run if loop == "uvloop" else asyncio.run
    run(meet())


async def test_a_broker_that_knows_none_of_our_requests_is_too_old():
    empty = answering(framed(struct.pack(">ihi", 1, 0, 0)), silent)
    async with serving(empty) as port:
        settings = KafkaSettings(bootstrap=(("127.0.0.1", port),))
        with pytest.raises(Unsupported, match="does not offer Metadata v12"):
            await open_connection(settings, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("api", "versions", "words"),
    [
        (1, (4, 12), "does not offer Fetch v13 (it has v4 to v12): Kafka 3.1 or newer is needed"),
        (2, (1, 4), "does not offer ListOffsets v5 (it has v1 to v4): Kafka 2.2 or newer"),
        (3, (4, 9), "does not offer Metadata v12 (it has v4 to v9): Kafka 3.1 or newer is needed"),
    ],
)
async def test_a_table_whose_broker_is_too_old_fails(api, versions, words):
    async with FakeCluster() as fake:
        fake.add_topic("t")
        fake.brokers[1].versions[api] = versions
        async with following(fake.bootstrap_servers, "t") as table:
            assert isinstance(await table.ended(), Unsupported)
            await table.until(lambda: table.served.trouble.final, "failed")
            assert f"{fake.bootstrap_servers} {words}" in table.served.trouble.sentence
            assert table.served.state(0.0) is TableState.FAILED


# Not there


async def test_a_port_that_nobody_listens_on():
    fault = await fault_of(port=free_port())
    assert "refuses connections; is the broker running there?" in str(fault)


async def test_a_host_that_does_not_resolve():
    fault = await fault_of(host="no-such-host.invalid", port=9092)
    assert "no-such-host.invalid:9092 cannot be reached: the host name does not resolve" in str(
        fault
    )


async def test_all_bootstrap_addresses_are_named_each_with_its_own_fault():
    dead = free_port()
    async with (
        serving(closing) as port,
        following(f"127.0.0.1:{dead},127.0.0.1:{port}", "t") as table,
    ):
        await table.until(lambda: table.sentences, "a sentence")
        refused, closed = table.sentences[0].split("; 127.0.0.1")
        assert f"127.0.0.1:{dead} refuses connections" in refused
        assert closed.startswith(f":{port} closed the connection")


async def test_a_fault_that_is_the_same_for_all_addresses_is_told_once(tmp_path):
    missing = tmp_path / "ca.pem"
    settings = KafkaSettings(
        bootstrap=(("127.0.0.1", 1), ("127.0.0.1", 2)), security_protocol="SSL", ssl_ca=str(missing)
    )
    with pytest.raises(BrokerFault) as raised:
        await Cluster(settings, boottime).metadata("t")
    assert str(raised.value).count(str(missing)) == 1


# TLS


async def through(port, reader, writer):
    """Pass a connection on to a broker."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source, target):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()

    there = asyncio.create_task(pump(reader, far_writer))
    try:
        await pump(far_reader, writer)
    finally:
        there.cancel()
        await asyncio.gather(there, return_exceptions=True)
        far_writer.transport.abort()


@asynccontextmanager
async def tls_door(fake, files):
    """A TLS listener before a fake broker, which then advertises it; gives its address."""
    async with serving(
        lambda reader, writer: through(fake.brokers[1].port, reader, writer), files
    ) as port:

        def advertise(request, answer):
            answer["brokers"][0].update(host="localhost", port=port)

        fake.script.metadata.append(always(advertise))
        yield f"localhost:{port}"


async def test_a_topic_is_read_over_tls(tls):
    async with FakeCluster() as fake, tls_door(fake, tls) as address:
        part = fake.add_topic("t")[0]
        part.write([(b"%d" % at, bytes(700)) for at in range(200)])
        secured = {"security_protocol": "SSL", "ssl_ca": str(tls.ca)}
        async with following(address, "t", **secured) as table:
            await table.until_ready()
            assert len(table.values()) == 200
            part.write([(b"b", b"2")])
            await table.until_read({0: 201})


async def test_a_certificate_of_another_authority(tls, tmp_path):
    other = make_tls(tmp_path)
    async with serving(silent, tls) as port:
        fault = await fault_of("localhost", port, security_protocol="SSL", ssl_ca=str(other.ca))
    assert "shows a certificate that is not trusted" in str(fault)
    assert "check ssl.ca.location" in str(fault)


async def test_a_certificate_for_another_host(tmp_path):
    files = make_tls(tmp_path, "elsewhere.example")
    async with serving(silent, files) as port:
        fault = await fault_of("localhost", port, security_protocol="SSL", ssl_ca=str(files.ca))
    assert "ostname mismatch" in str(fault)
    assert "the certificate names this host" in str(fault)


async def test_a_plain_client_at_a_tls_port(tls):
    async with serving(silent, tls) as port:
        fault = await fault_of(port=port)
    assert CLOSED in str(fault)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_tls_client_at_a_plain_port(tls, loop):
    async def meet():
        async with serving(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
            return await fault_of(port=port, security_protocol="SSL", ssl_ca=str(tls.ca))

    fault = (uvloop.run if loop == "uvloop" else asyncio.run)(meet())
    assert "does not speak TLS as we do" in str(fault)
    assert "check security.protocol (SSL)" in str(fault)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("handle", [closing, resetting])
def test_a_tls_client_at_a_port_that_closes(tls, loop, handle):
    async def meet():
        async with serving(handle) as port:
            return await fault_of(port=port, security_protocol="SSL", ssl_ca=str(tls.ca))

    fault = (uvloop.run if loop == "uvloop" else asyncio.run)(meet())
    assert "closed the connection; is it a Kafka listener for security.protocol SSL?" in str(fault)


async def test_a_tls_client_at_a_silent_port(tls):
    async with serving(silent) as port:
        fault = await fault_of(port=port, security_protocol="SSL", ssl_ca=str(tls.ca))
    assert "did not answer within 0.3 s" in str(fault)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_a_ca_file_that_cannot_be_used(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    fault = await fault_of(security_protocol="SSL", ssl_ca=str(file))
    assert f"ssl.ca.location: {file} cannot be used: " in str(fault)


async def test_a_ca_file_that_comes_later_is_taken(tls, tmp_path):
    file = tmp_path / "ca.pem"
    async with FakeCluster() as fake, tls_door(fake, tls) as address:
        fake.add_topic("t")
        async with following(address, "t", security_protocol="SSL", ssl_ca=str(file)) as table:
            await table.until(lambda: "ssl.ca.location" in table.served.trouble.sentence, "fault")
            file.write_bytes(tls.ca.read_bytes())
            await table.until_ready()


async def test_a_client_certificate_that_cannot_be_used(tls, tmp_path):
    secured = {"security_protocol": "SSL", "ssl_ca": str(tls.ca)}
    missing = str(tmp_path / "missing.pem")
    fault = await fault_of(ssl_certificate=missing, ssl_key=str(tls.client_key), **secured)
    assert f"ssl.certificate.location, ssl.key.location: {missing}" in str(fault)
    fault = await fault_of(
        ssl_certificate=str(tls.client_cert), ssl_key=str(tls.broker_keystore), **secured
    )
    assert "cannot be used" in str(fault)


@pytest.mark.parametrize("password", [None, "wrong-secret"])
async def test_a_locked_key_is_a_fault_and_asks_nobody_for_its_password(tls, tmp_path, password):
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(tls.client_key.read_bytes(), password=None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"right")
        )
    )
    fault = await fault_of(
        ssl_certificate=str(tls.client_cert), ssl_key=str(locked), ssl_key_password=password,
        security_protocol="SSL", ssl_ca=str(tls.ca),
    )  # fmt: skip
    assert f"{locked} cannot be used" in str(fault)
    assert "wrong-secret" not in str(fault)


# SASL, on a real broker


def sasl(kafka, mechanism="SCRAM-SHA-256", password="alice-secret", user="alice"):
    return {
        "bootstrap": kafka.bootstrap("SASL"), "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password,
    }  # fmt: skip


@pytest.fixture
def every_log(caplog):
    """All that is logged, as an operator who asks for DEBUG would have it."""
    from sidecar.ops import logs

    known = {
        name: logging.getLogger(name).level for name in ("", "sidecar", *logs._foreign_loggers())
    }
    logs.configure("debug")
    yield caplog
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler.formatter, logs._Text):
            logging.getLogger().removeHandler(handler)
    for name, level in known.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_sasl_with_the_right_password(kafka, topic_name, mechanism, every_log):
    kafka.create_topic(topic_name)
    await asyncio.to_thread(produce, kafka.bootstrap_servers, topic_name, [(b"a", b"1")])
    settings = sasl(kafka, mechanism)
    async with following(settings.pop("bootstrap"), topic_name, **settings) as table:
        await table.until_ready()
        assert table.values() == {b"a": b"1"}
        assert "alice-secret" not in repr(table.cluster.settings)
    assert "alice-secret" not in every_log.text


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_sasl_with_a_wrong_password_is_named_without_it(kafka, mechanism, user, every_log):
    settings = sasl(kafka, mechanism, "wrong-secret", user)
    bootstrap = settings.pop("bootstrap")
    async with following(bootstrap, "t", **settings) as table:
        await table.until(lambda: table.sentences, "a sentence")
        assert table.sentences[0].startswith(
            f"{bootstrap} refuses to authenticate '{user}' by {mechanism}: "
        )
        assert "check sasl.username, the password and sasl.mechanism" in table.sentences[0]
        with pytest.raises(BrokerFault) as raised:
            await table.cluster.metadata("t")
        assert raised.value.wait is Wait.AUTHORIZATION
        for told in (table.sentences[0], repr(raised.value), repr(table.cluster.settings)):
            assert "secret" not in told
    assert "wrong-secret" not in every_log.text


async def test_a_mechanism_that_the_broker_does_not_offer(kafka):
    settings = sasl(kafka, "SCRAM-SHA-512")
    ((host, port),) = addresses(settings.pop("bootstrap"))
    fault = await fault_of(host, port, request_timeout_s=10.0, **settings)
    assert "does not offer SCRAM-SHA-512; check sasl.mechanism" in str(fault)
    assert "0x" not in str(fault)


async def test_sasl_at_a_listener_without_it(kafka):
    settings = sasl(kafka)
    del settings["bootstrap"]
    ((host, port),) = addresses(kafka.bootstrap_servers)
    fault = await fault_of(host, port, request_timeout_s=10.0, **settings)
    assert "security.protocol" in str(fault)


async def test_no_sasl_at_a_listener_that_wants_it(kafka, topic_name):
    async with following(kafka.bootstrap("SASL"), topic_name) as table:
        await table.until(lambda: table.sentences, "a sentence")
        assert "security.protocol" in table.sentences[0]


async def test_a_plain_client_at_a_real_tls_listener_and_the_reverse(kafka, tls):
    ((_, port),) = addresses(kafka.bootstrap("SSL"))
    fault = await fault_of("localhost", port, request_timeout_s=10.0)
    assert CLOSED in str(fault)
    ((_, port),) = addresses(kafka.bootstrap_servers)
    fault = await fault_of(
        "localhost", port, request_timeout_s=10.0, security_protocol="SSL", ssl_ca=str(tls.ca)
    )
    assert "security.protocol" in str(fault)


# A connection that breaks


async def test_a_connection_that_breaks_at_a_question_says_which_address():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        fake.script.metadata.append(CLOSE)
        cluster = Cluster(KafkaSettings(bootstrap=addresses(fake.bootstrap_servers)), boottime)
        with pytest.raises(BrokerFault) as raised:
            await cluster.metadata("t")
        assert str(raised.value).startswith(f"{fake.bootstrap_servers}")
        cluster.close()
        await asyncio.sleep(0.01)
