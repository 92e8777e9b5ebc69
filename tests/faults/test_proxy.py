"""The proxy does to a connection what it is told, and nothing when it is told nothing."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.proxy import Address, Proxy, Way, free_port

_SAID, _TOLD = b"127.0.0.1\x00\x00\x23\x84", b"127.0.0.1\x00\x00\x75\x30"


@contextmanager
def _echo() -> Iterator[int]:
    """A server that sends back what it gets, in pieces as small as they come; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_send_back, args=(taken,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _send_back(taken: socket.socket) -> None:
    with taken, suppress(ConnectionResetError):
        while data := taken.recv(65_536):
            taken.sendall(data)


@contextmanager
def _through(**options: object) -> Iterator[tuple[Proxy, socket.socket]]:
    with _echo() as port:
        proxy = Proxy(Address(port=free_port()), Address(port=port), **options)  # type: ignore[arg-type]
        with proxy.running(), socket.create_connection(("127.0.0.1", proxy.listen.port), timeout=5) as client:
            yield proxy, client


def _received(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def test_untouched_everything_passes_both_ways_and_is_counted() -> None:
    sent = bytes(range(256)) * 1_000
    with _through() as (proxy, client):
        threading.Thread(target=client.sendall, args=(sent,)).start()
        assert _received(client, len(sent)) == sent
        assert (proxy.counts.connections, proxy.counts.bytes_up) == (1, len(sent))


def test_a_servers_address_is_replaced_wherever_the_pieces_are_cut() -> None:
    sent, expected = b"x" + _SAID + b"127.0.0.1" + _SAID + b"y", b"x" + _TOLD + b"127.0.0.1" + _TOLD + b"y"
    with _through(rewrite=(_SAID, _TOLD)) as (_, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent:
            client.sendall(bytes([byte]))
            time.sleep(0.001)
        assert _received(client, len(expected)) == expected


def test_an_end_that_only_looks_like_the_address_is_passed_on_when_the_server_closes() -> None:
    with _through(rewrite=(_SAID, _TOLD)) as (_, client):
        client.sendall(b"z127.0.0.1")
        client.shutdown(socket.SHUT_WR)
        assert _received(client, 100) == b"z127.0.0.1"


def test_silence_holds_back_and_the_end_of_it_lets_pass() -> None:
    with _through() as (proxy, client):
        proxy.down = Way(silent=True)
        client.sendall(b"asked")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(5)
        proxy.heal()
        client.settimeout(5)
        assert _received(client, 5) == b"asked"


def test_a_cut_resets_the_connection_after_that_many_bytes_and_the_next_connection_works() -> None:
    with _through() as (proxy, client):
        proxy.up = Way(cut_after_bytes=10)
        client.sendall(b"twelve bytes")
        with pytest.raises(ConnectionResetError):
            _received(client, 1_000)
        with socket.create_connection(("127.0.0.1", proxy.listen.port), timeout=5) as another:
            another.sendall(b"well")
            assert _received(another, 4) == b"well"


def test_who_is_refused_is_reset() -> None:
    with _through() as (proxy, _):
        proxy.refusing = True
        with socket.create_connection(("127.0.0.1", proxy.listen.port), timeout=5) as another:
            another.settimeout(5)
            with pytest.raises(ConnectionResetError):
                another.recv(1)


def test_a_unix_socket_is_as_good_as_a_port(tmp_path: Path) -> None:
    path = tmp_path / "here"
    with _echo() as port, Proxy(Address(path=path), Address(port=port)).running(), socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        one.connect(str(path))
        one.sendall(b"hello")
        assert _received(one, 5) == b"hello"
