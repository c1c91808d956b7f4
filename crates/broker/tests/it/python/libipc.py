"""libipc's bytes, both generations, written from their description alone, faults included: every reader here reads
once for each message and takes what that gives.

    libipc.py client c|zig FOLDER SERVICE NETWORK WORDS    looks up, says WORDS in a frame, prints what comes back
    libipc.py raw c|zig FOLDER SERVICE NETWORK WORDS       the same without frames
    libipc.py service c|zig FOLDER NAME                    answers every frame with its payload in capitals
    libipc.py protocol c|zig FOLDER SCHEME                 takes a URI, says ok, then says the URI to every frame
    libipc.py tcpd NAME                                    tcpd's other side: admits to NAME, then repeats bytes
"""

import array
import os
import socket
import struct
import sys

LISTENING = "listening"


def frame(generation, payload, kind=2):
    if generation == "c":
        return struct.pack(">BIB", kind, len(payload), 3) + payload
    return struct.pack(">I", len(payload)) + payload


def payload(generation, data):
    header = 6 if generation == "c" else 4
    at = 1 if generation == "c" else 0
    (length,) = struct.unpack_from(">I", data, at)
    return data[header:header + length]


def descriptor(ancillary):
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data)
    if len(descriptors) != 1:
        sys.exit(f"{len(descriptors)} descriptors came")
    return socket.socket(fileno=descriptors[0])


def lookup(generation, folder, service, network):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(60)
    name = "network" if generation == "c" else "ipc"
    s.connect(os.path.join(folder, name))
    s.sendall(frame(generation, f"{service};{network}".encode(), 3))
    if generation == "zig":
        data, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(4))
        if data != b"ok":
            sys.exit(f"refused: {data!r}")
        return descriptor(ancillary)
    # One read for the message, as large as any may be: what came with it is lost.
    data = s.recv(1999994)
    if len(payload("c", data)) != 2:
        sys.exit(f"refused: {payload('c', data).decode()}")
    data, ancillary, _, _ = s.recvmsg(1, socket.CMSG_SPACE(4))
    return descriptor(ancillary)


def serve(listener, talk):
    print(LISTENING, listener.getsockname()[1] if listener.family == socket.AF_INET else "", flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            talk(connection)
            os._exit(0)
        connection.close()


def listen(folder, name):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.path.join(folder, name))
    listener.listen(5)
    return listener


def client(generation, folder, service, network, words):
    s = lookup(generation, folder, service, network)
    s.sendall(frame(generation, words.encode()))
    print(payload(generation, s.recv(4096)).decode())


def raw(generation, folder, service, network, words):
    s = lookup(generation, folder, service, network)
    s.send(words.encode())
    print(s.recv(4096).decode())


def service(generation, folder, name):
    def talk(s):
        while data := s.recv(4096):
            s.sendall(frame(generation, payload(generation, data).upper()))

    serve(listen(folder, name), talk)


def protocol(generation, folder, scheme):
    def talk(s):
        uri = payload(generation, s.recv(4096))
        s.sendall(frame(generation, b"ok"))
        while s.recv(4096):
            s.sendall(frame(generation, uri))

    serve(listen(folder, scheme), talk)


def tcpd(name):
    def talk(s):
        if s.recv(4096) != name.encode():
            return
        s.sendall(b"ok")
        while data := s.recv(4096):
            s.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0))
    serve(listener, talk)


{"client": client, "raw": raw, "service": service, "protocol": protocol, "tcpd": tcpd}[sys.argv[1]](*sys.argv[2:])
