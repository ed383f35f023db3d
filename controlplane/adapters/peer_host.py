"""Whether the host at the other end of a TCP connection is still there.

A process that is slow or stopped says nothing, but the kernel under it acknowledges what comes. A host without power,
or behind a cut cable, does not even that, and sends no reset: without a look at the acknowledgements a request waits
for it as long as for a slow answer. For bodies TCP_USER_TIMEOUT is no such look: it also ends connections to a living
host whose process does not take more of one for a while.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, Protocol

_INFO: Final = struct.Struct("=8B13I")
"""The beginning of struct tcp_info (linux/tcp.h), to tcpi_last_ack_recv."""
_RETRANSMITS: Final = 2
_PROBES: Final = 3
_LAST_ACK_MS: Final = 20


class TcpSocket(Protocol):
    """What event loops give of a transport's socket."""

    def setsockopt(self, level: int, option: int, value: int) -> None: ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def have_it_probed(sock: TcpSocket, silence_s: float) -> None:
    """The kernel asks the other one whether it is there when nothing is said, and ends the connection after `silence_s`
    without an answer; whole seconds, and 2 at least."""
    seconds = max(2, round(silence_s))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, (seconds + 1) // 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, seconds // 2)


def ended_when_silent(sock: TcpSocket, silence_s: float) -> None:
    """For messages that are small or taken at once: the kernel itself ends the connection, also when the other process
    takes nothing of what waits for it for so long."""
    have_it_probed(sock, silence_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(silence_s * 1000))


def is_silent(sock: TcpSocket, silence_s: float) -> bool:
    """What was sent again, or a probe, is not acknowledged, and nothing has been for `silence_s`. The kernel does not
    probe while data waits for its acknowledgement, and would send that again for a quarter of an hour."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:  # it is being closed
        return False
    fields = _INFO.unpack(info)
    return bool(fields[_RETRANSMITS] or fields[_PROBES]) and fields[_LAST_ACK_MS] >= silence_s * 1000
