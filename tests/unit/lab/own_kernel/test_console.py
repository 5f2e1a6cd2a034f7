# SPDX-License-Identifier: GPL-3.0-or-later
"""The management console of a kernel: datagrams as arch/um/drivers/mconsole_user.c has them."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

import pytest
from mayfly_lab.own_kernel.console import Refused, request


@pytest.fixture
def kernel(tmp_path):
    """A kernel's socket at a path that is longer than an address can be, and what was asked of it."""
    folder = tmp_path / ("long-" * 20) / "i-0123456789abcdef0"
    folder.mkdir(parents=True)
    path, asked, answers = folder / "mconsole", [], []
    listening = threading.Event()

    def serve(late=0.0):
        time.sleep(late)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.bind(f"/proc/self/fd/{os.open(folder, os.O_PATH)}/{path.name}")
            listening.set()
            own.settimeout(5)
            data, sender = own.recvfrom(1024)
            magic, version, length = struct.unpack_from("=IiI", data)
            asked.append((magic, version, data[12 : 12 + length].decode(), len(data)))
            for number, (error, text) in enumerate(answers, 1):
                head = struct.pack("=iii", error, int(number < len(answers)), len(text))
                own.sendto(head + text.encode(), sender)

    def start(*says, late=0.0):
        answers.extend(says)
        threading.Thread(target=serve, args=(late,), daemon=True).start()
        if not late:
            assert listening.wait(5)
        return path, asked

    return start


def test_a_request_is_one_datagram_and_an_answer_may_be_several(kernel):
    path, asked = kernel((0, "one "), (0, "two\0"))
    assert request(path, "config ubdb=/file,,serial") == "one two"
    assert asked == [(0xCAFEBABE, 2, "config ubdb=/file,,serial", 12 + 512)]


def test_what_the_kernel_does_not_do_is_told_in_its_words(kernel):
    path, _ = kernel((-16, "Device is currently open\n"))
    with pytest.raises(Refused, match=r"^remove ubdb: Device is currently open$"):
        request(path, "remove ubdb")


def test_a_kernel_that_is_still_booting_is_waited_for(kernel):
    path, asked = kernel((0, ""), late=0.3)
    request(path, "cad")
    assert [words for _, _, words, _ in asked] == ["cad"]


def test_one_that_never_comes_is_not_waited_for_longer(tmp_path):
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^nobody listens at .*/mconsole$"):
        request(tmp_path / "mconsole", "cad", wait=0.2)
    assert time.monotonic() - began < 5


def test_words_that_do_not_fit_are_not_sent(tmp_path):
    with pytest.raises(Refused, match="longer than 512"):
        request(tmp_path / "mconsole", "x" * 512)
