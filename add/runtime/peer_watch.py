"""Watch of a run's processes over each other: where one dies or stops, the others end soon, with one sentence.

Every process is connected to the first one, and both sides send a sign each second, from a thread of its own: work and
collectives, also those that wait for days, go on beside it. A connection that the system closes tells at once that a
process died; no sign for the timeout tells that it was stopped, or that its machine can't be reached.
"""
import os
import secrets
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from add.runtime.world import World

LOST_STATUS = 75  # exit status where another process was lost: as EX_TEMPFAIL of sysexits.h, try again
FAILED_STATUS = 2  # where another process met an error and has told of it
PATIENCE = 3.0  # seconds that work gets to leave by itself what it writes, once a process is lost
CONNECTING = 20.0  # seconds, at most
BEAT = 1.0  # seconds between two signs, at most; of a short timeout a tenth
ALIVE, ENDED = b".", b"e"
FAILED, UNMET = b"f", b"u"  # the sender met an error, or lost the others without a loss that the watch knew of
DIED, SILENT = b"d", b"s"
_RANK = struct.Struct("!I")  # follows DIED and SILENT
_TOKEN = 16  # bytes, which a connection begins with, before its rank


@dataclass(frozen=True)
class Loss:
    """A process that the run can't go on without, and how it was lost: FAILED, UNMET, DIED or SILENT."""

    rank: int
    how: bytes


class PeerWatch:
    """The watch of one process over the others, by its connections.

    Args:
        world: this process and how many there are.
        peers: {rank: connection}: of the first process to all others, of these to the first.
        hosts: the machine's name of every process.
        timeout: seconds without a sign.
    """

    def __init__(self, world: World, peers: Mapping[int, socket.socket], hosts: list[str], timeout: float) -> None:
        self.rank, self.hosts, self.timeout = world.rank, hosts, timeout
        self.beat = min(BEAT, timeout / 10)
        self.loss: Loss | None = None
        self._peers = dict(peers)
        self._pending: dict[int, bytes] = {}  # bytes of a message that has not all come
        self._is_lost, self._is_over = threading.Event(), threading.Event()
        self._selector = selectors.DefaultSelector()
        for rank, peer in self._peers.items():
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ, rank)
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
        self._thread.start()

    def close(self, how: bytes = ENDED) -> None:
        """End the watch and tell the others how: ENDED well, FAILED or UNMET; the others end with these, too."""
        self._is_over.set()
        self._thread.join()
        if self.loss is None:
            self._tell(how)
        for peer in self._peers.values():
            peer.close()
        self._selector.close()

    def end_if_lost(self, patience: float) -> None:
        """End this process where another is lost, or proves to be within `patience` seconds; what is left is undone."""
        if self._is_lost.wait(patience):
            self._end()

    def _end(self) -> NoReturn:
        """End at once: what waits for the others may wait for ever."""
        assert self.loss is not None, "nothing was lost"
        end(FAILED_STATUS if self.loss.how == FAILED else LOST_STATUS)

    def _run(self):
        heard, seen, sent = dict.fromkeys(self._peers, time.monotonic()), time.monotonic(), 0.0
        while self._peers and not self._is_over.is_set():
            for key, _ in self._selector.select(self.beat / 2):
                rank = key.data
                heard[rank] = time.monotonic()
                self._listen(rank)
            now = time.monotonic()
            if now - seen > self.timeout / 2:  # this process itself stood still, and the others perhaps with it
                heard = dict.fromkeys(heard, now)
            seen = now
            if now - sent >= self.beat:
                self._tell(ALIVE)
                sent = now
            for rank in list(self._peers):
                if now - heard[rank] > self.timeout:
                    self._lose(Loss(rank, SILENT))
            if self.loss is not None:
                self._is_over.wait(PATIENCE)  # end_if_lost() of a process that leaves its work ends it before
                if not self._is_over.is_set():
                    self._end()

    def _listen(self, rank):
        """Take in what a process sent."""
        try:
            data = self._pending.pop(rank, b"") + self._peers[rank].recv(4096)
        except BlockingIOError:
            return
        except OSError:  # the connection was reset
            data = b""
        if not data:
            self._lose(Loss(rank, DIED))
        while data and rank in self._peers:
            kind, data = data[:1], data[1:]
            if kind in (DIED, SILENT):
                if len(data) < _RANK.size:
                    self._pending[rank] = kind + data
                    return
                self._lose(Loss(_RANK.unpack(data[:_RANK.size])[0], kind))
                data = data[_RANK.size:]
            elif kind in (FAILED, UNMET):
                self._lose(Loss(rank, kind))
            elif kind == ENDED:
                self._drop(rank)

    def _drop(self, rank):
        peer = self._peers.pop(rank)
        self._selector.unregister(peer)
        peer.close()

    def _lose(self, loss):
        """Note the first loss, and tell the others of it; one that was stopped hears of it, too, when it goes on."""
        if self.loss is None:
            self.loss = loss
            if self._is_to_tell(loss):  # at once: a launcher may end this process next
                print(f"error: {self._sentence(loss)}", file=sys.stderr, flush=True)
            self._tell(loss.how + _RANK.pack(loss.rank) if loss.how in (DIED, SILENT) else loss.how)
            self._is_lost.set()
        if loss.rank in self._peers:
            self._drop(loss.rank)

    def _tell(self, message):
        for peer in self._peers.values():
            try:
                peer.send(message)
            except OSError:  # it is gone, which the next look tells, or so far behind that it can't take a sign more
                continue

    def _is_to_tell(self, loss):
        """Return whether this process tells of a loss: the first one does, else on each machine the first one left."""
        if loss.how in (FAILED, UNMET) or loss.rank == self.rank:
            return False
        left = [rank for rank, host in enumerate(self.hosts) if host == self.hosts[self.rank] and rank != loss.rank]
        return self.rank == (left[0] if loss.rank == 0 else 0)

    def _sentence(self, loss):
        who = f"process {loss.rank} of {len(self.hosts)} (counted from 0, on {self.hosts[loss.rank]})"
        if loss.how == SILENT:
            return (f"{who} gave no sign for {self.timeout:g} seconds (--timeout): expected one each second; it was "
                    f"stopped, or its machine hangs or can't be reached; the others end, and the same command goes on")
        return (f"{who} died: expected all of them to stay to the end; it was killed, as where memory runs out, or "
                f"crashed; the others end, and the same command goes on")


def end(status: int) -> NoReturn:
    """End this process at once with an exit status."""
    try:
        sys.stderr.flush()
        sys.stdout.flush()
    finally:
        os._exit(status)


def watch_over(world: World, address: str, timeout: float) -> PeerWatch:
    """Return the running watch of this process; all processes call it together.

    Who can't connect is not watched over, and the first process says so on stderr.

    Args:
        address: of the first process's machine.
    """
    seconds = min(CONNECTING, timeout)
    listener = _listener() if world.is_main else None
    port = 0 if listener is None else listener.getsockname()[1]
    told = world.gather((socket.gethostname(), port, secrets.token_bytes(_TOKEN)))
    _, port, token = told[0]
    peers: dict[int, socket.socket] = {}
    if listener is not None:
        peers = _accept(listener, world.size - 1, token, seconds)
        if lacking := sorted(set(range(1, world.size)) - peers.keys()):
            print(f"warning: processes {', '.join(map(str, lacking))} can't connect to {address}, port {port}: if one "
                  f"of them is lost, the others hear of it only when they wait for it", file=sys.stderr)
    else:
        try:
            peers = {0: socket.create_connection((address, port), seconds)}
            peers[0].sendall(token + _RANK.pack(world.rank))
        except OSError:
            peers = {}
    return PeerWatch(world, peers, [host for host, *_ in told], timeout)


def _listener():
    """Return a socket that listens on a free port, by IPv6 as well where there is any."""
    try:
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("", 0))


def _accept(listener, count, token, seconds):
    """Return {rank: connection} of those that come within some seconds and know the token."""
    peers: dict[int, socket.socket] = {}
    deadline = time.monotonic() + seconds
    with listener:
        while len(peers) < count and (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                break
            peer.settimeout(max(0.1, deadline - time.monotonic()))
            if (rank := _greeted(peer, token)) is None:
                peer.close()
            else:
                peers[rank] = peer
    return peers


def _greeted(peer, token):
    """Return the rank that a connection begins with, or None where it is no process of this run."""
    greeting = b""
    try:
        while len(greeting) < len(token) + _RANK.size:
            part = peer.recv(len(token) + _RANK.size - len(greeting))
            if not part:
                return None
            greeting += part
    except OSError:
        return None
    return _RANK.unpack(greeting[-_RANK.size:])[0] if secrets.compare_digest(greeting[:len(token)], token) else None
