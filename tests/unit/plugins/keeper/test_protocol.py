# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages over a socket: they come through whole, and nothing that is none is taken for one."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import protocol
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.protocol import (
    ProtocolError,
    Silence,
    receive,
    receive_answer,
    send,
    send_alive,
)
from hypothesis import given
from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
anything = st.binary(max_size=200)


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def framed(body: bytes) -> bytes:
    """A body with its length in front."""
    return struct.pack(">I", len(body)) + body


@given(st.dictionaries(st.text(), values, max_size=5))
def test_a_message_comes_through_as_it_was_sent(message: dict[str, object]) -> None:
    with pair() as (ours, theirs):
        send(ours, message, 5)
        assert receive(theirs, 5) == message


def test_messages_come_through_one_after_another() -> None:
    with pair() as (ours, theirs):
        for number in range(3):
            send(ours, {"number": number}, 5)
        assert [receive(theirs, 5)["number"] for _ in range(3)] == [0, 1, 2]


def test_a_message_larger_than_the_sockets_buffer_comes_through() -> None:
    message = {"user_data": "x" * (5 << 20)}
    with pair() as (ours, theirs):
        sender = threading.Thread(target=send, args=(ours, message, 20))
        sender.start()
        assert receive(theirs, 20) == message
        sender.join(20)


def test_a_message_that_trickles_comes_through() -> None:
    with pair() as (ours, theirs):

        def trickle() -> None:
            for byte in framed(b'{"a":1}'):
                ours.sendall(bytes([byte]))
                time.sleep(0.005)

        sender = threading.Thread(target=trickle)
        sender.start()
        assert receive(theirs, 10) == {"a": 1}
        sender.join(10)


def test_a_message_of_the_longest_length_comes_through_and_a_longer_one_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "MAXIMUM_BYTES", len(b'{"a":"xxxx"}'))
    with pair() as (ours, theirs):
        send(ours, {"a": "xxxx"}, 5)
        assert receive(theirs, 5) == {"a": "xxxx"}
        with pytest.raises(ProtocolError, match="longer than 12"):
            send(ours, {"a": "xxxxx"}, 5)
        ours.close()
        assert theirs.recv(1) == b""


def test_a_length_that_is_too_long_is_refused_before_the_body_is_read() -> None:
    with pair() as (ours, theirs):
        ours.sendall(struct.pack(">I", protocol.MAXIMUM_BYTES + 1))
        with pytest.raises(ProtocolError, match=str(protocol.MAXIMUM_BYTES + 1)):
            receive(theirs, 5)


CUT_OFF = {
    "before it begins": b"",
    "in the length": struct.pack(">I", 7)[:3],
    "after the length": struct.pack(">I", 7),
    "in the body": framed(b'{"a":1}')[:-1],
}


@pytest.mark.parametrize("sent", CUT_OFF.values(), ids=CUT_OFF.keys())
def test_a_message_that_is_cut_off_is_an_error(sent: bytes) -> None:
    with pair() as (ours, theirs):
        ours.sendall(sent)
        ours.close()
        with pytest.raises(ProtocolError, match="closed in the middle"):
            receive(theirs, 5)


NONSENSE = {
    "an empty body": b"",
    "no JSON": b"hello",
    "half of JSON": b'{"a":',
    "two values": b'{"a":1}{"a":2}',
    "no UTF-8": b'{"a":"\xff"}',
    "a list": b"[1]",
    "a number": b"7",
    "a word": b'"hello"',
    "nothing": b"null",
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_an_error(body: bytes) -> None:
    with pair() as (ours, theirs):
        ours.sendall(framed(body))
        with pytest.raises(ProtocolError):
            receive(theirs, 5)


@given(
    st.binary(max_size=200) | st.binary(max_size=200).map(framed) | values.map(json.dumps).map(str.encode).map(framed)
)
def test_whatever_comes_is_a_message_or_an_error(sent: bytes) -> None:
    with pair() as (ours, theirs):
        ours.sendall(sent)
        ours.close()
        with suppress(ProtocolError):
            assert isinstance(receive(theirs, 5), dict)


@pytest.mark.parametrize("sent", [b"", framed(b'{"a":1}')[:-1]], ids=["nothing comes", "the rest does not come"])
def test_a_message_that_does_not_come_in_time_is_a_time_out(sent: bytes) -> None:
    with pair() as (ours, theirs):
        ours.sendall(sent)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            receive(theirs, 0.1)
        assert 0.09 <= time.monotonic() - began < 5


def test_the_time_is_for_the_whole_message_and_not_for_each_part() -> None:
    with pair() as (ours, theirs):
        stop = threading.Event()

        def trickle() -> None:
            ours.sendall(struct.pack(">I", 10_000))
            while not stop.wait(0.02):
                ours.sendall(b" ")

        sender = threading.Thread(target=trickle)
        sender.start()
        with pytest.raises(TimeoutError):
            receive(theirs, 0.2)
        stop.set()
        sender.join(5)


def test_a_message_that_nobody_takes_is_a_time_out() -> None:
    with pair() as (ours, _theirs), pytest.raises(TimeoutError):
        send(ours, {"a": "x" * (8 << 20)}, 0.1)


def test_a_message_to_one_who_has_gone_is_an_os_error() -> None:
    with pair() as (ours, theirs):
        theirs.close()
        with pytest.raises(OSError, match="Broken pipe"):
            send(ours, {"a": 1}, 5)


def test_the_frame_is_four_bytes_of_length_and_compact_json() -> None:
    with pair() as (ours, theirs):
        send(ours, {"a": [1, "ü"]}, 5)
        sent = theirs.recv(1000)
    assert struct.unpack(">I", sent[:4]) == (len(sent) - 4,)
    assert json.loads(sent[4:]) == {"a": [1, "ü"]}
    assert b" " not in sent[4:]


class TestAnAnswer:
    """A long call is told apart from a keeper that hangs by words that it goes on."""

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "SILENCE_SECONDS", 0.3)

    def test_comes_after_any_number_of_words_that_the_call_goes_on(self) -> None:
        with pair() as (ours, theirs):
            for _ in range(10):
                send_alive(ours)
            send(ours, {"result": {}}, 5)
            assert receive_answer(theirs, 5) == {"result": {}}

    def test_may_take_longer_than_silence_while_the_call_goes_on(self) -> None:
        with pair() as (ours, theirs):

            def answer() -> None:
                for _ in range(10):
                    time.sleep(0.06)
                    send_alive(ours)
                send(ours, {"result": {}}, 5)

            thread = threading.Thread(target=answer)
            thread.start()
            assert receive_answer(theirs, 20) == {"result": {}}
            thread.join(5)

    def test_that_is_preceded_by_silence_does_not_come(self) -> None:
        with pair() as (ours, theirs):
            send_alive(ours)
            began = time.monotonic()
            with pytest.raises(Silence, match="nothing was heard"):
                receive_answer(theirs, 20)
            assert 0.28 <= time.monotonic() - began < 5

    def test_that_does_not_come_in_time_is_a_time_out(self) -> None:
        with pair() as (ours, theirs):
            send_alive(ours)
            with pytest.raises(TimeoutError):
                receive_answer(theirs, 0.1)

    def test_that_is_cut_off_is_an_error(self) -> None:
        with pair() as (ours, theirs):
            send_alive(ours)
            ours.close()
            with pytest.raises(ProtocolError):
                receive_answer(theirs, 5)


def test_the_word_that_a_call_goes_on_waits_for_nobody() -> None:
    with pair() as (ours, _theirs):
        began = time.monotonic()
        for _ in range(20_000):
            send_alive(ours)
        assert time.monotonic() - began < 10


def test_the_word_that_a_call_goes_on_tells_when_nobody_is_there() -> None:
    with pair() as (ours, theirs):
        theirs.close()
        with pytest.raises(OSError, match="Broken pipe"):
            send_alive(ours)
