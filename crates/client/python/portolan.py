"""Connections from the broker on this host, as sockets. Python's standard library and nothing else.

    import portolan
    with portolan.connect("pong") as s:
        s.sendall(b"ping")

A name is a service or a URI (tcp://host:port/service). IPC_NETWORK is honoured, and PORTOLAN_BROKER says where the
broker is; else it is looked for in $XDG_RUNTIME_DIR and /run.
"""

import array
import json
import os
import socket

__all__ = ["Broker", "Refused", "connect", "listener"]

LONGEST = 65536
MOST_DESCRIPTORS = 4


class Refused(OSError):
    """The broker says no. `kind` is for programs: unknown, unhealthy, denied, unreachable, busy, ..."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def places():
    """Where a broker is looked for, best first."""
    if named := os.environ.get("PORTOLAN_BROKER"):
        return [named]
    own = os.environ.get("XDG_RUNTIME_DIR")
    return ([os.path.join(own, "portolan/broker.sock")] if own else []) + ["/run/portolan/broker.sock"]


class Broker:
    """A connection to the broker."""

    def __init__(self, path=None, timeout=None):
        last = None
        for place in [path] if path else places():
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.socket.settimeout(timeout)
            try:
                return self.socket.connect(place)
            except OSError as error:
                self.socket.close()
                last = OSError(error.errno, f"reach the broker at {place}: {error.strerror}")
        raise last

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it."""
        self.socket.close()

    def ask(self, op, **more):
        """One request, one reply: the reply, and the descriptor that came with it or None."""
        request = {"v": 1, "op": op} | {key: value for key, value in more.items() if value is not None}
        self.socket.send(json.dumps(request).encode())
        control = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, flags, _ = self.socket.recvmsg(LONGEST, control, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, passed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(passed[: len(passed) - len(passed) % descriptors.itemsize])
        wanted = None if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) else 1
        for descriptor in descriptors[wanted or 0:]:
            os.close(descriptor)
        if wanted is None:
            raise OSError("descriptors were lost on the way from the broker")
        if not data:
            raise ConnectionError("the broker has gone")
        reply = json.loads(data)
        if error := reply.get("error"):
            raise Refused(error["kind"], error["message"])
        return reply, descriptors[0] if descriptors else None

    def connect(self, name, network=None):
        """A connected socket to a service, by name or URI."""
        network = network or os.environ.get("IPC_NETWORK") or None
        _, descriptor = self.ask("connect", name=name, network=network)
        if descriptor is None:
            raise OSError("the broker's answer has no descriptor")
        return socket.socket(fileno=descriptor)

    def services(self):
        """All services, in order of name: dictionaries with name, registered, usable."""
        after = None
        while True:
            listing = self.ask("list", after=after)[0]["listing"]
            yield from listing["services"]
            if not listing["more"] or not listing["services"]:
                return
            after = listing["services"][-1]["name"]

    def explain(self, name):
        """Why a name leads where it does, for this program."""
        return self.ask("explain", name=name)[0]["explanation"]


def connect(name, timeout=None):
    """A connected socket to a service, by name or URI."""
    with Broker(timeout=timeout) as broker:
        return broker.connect(name)


def listener():
    """The socket that systemd, or `portolan run --listen`, handed this program to accept on; None without one."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or int(os.environ.get("LISTEN_FDS", "0")) < 1:
        return None
    os.set_inheritable(3, False)
    return socket.socket(fileno=3)
