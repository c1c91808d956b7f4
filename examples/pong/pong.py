"""The pong service and its client.

    portolan run pongd --listen -- python3 examples/pong/pong.py serve
    python3 examples/pong/pong.py [NAME]        NAME is pongd, or a URI
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../crates/client/python"))
import portolan


def serve():
    listener = portolan.listener()
    if listener is None:
        sys.exit("nobody handed a socket over: start it with `portolan run pongd --listen -- ...`")
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data.replace(b"ping", b"pong"))


def ask(name):
    with portolan.connect(name, timeout=10) as s:
        s.sendall(b"ping\n")
        print(s.recv(4096).decode(), end="")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else ask(sys.argv[1] if sys.argv[1:] else "pongd")
