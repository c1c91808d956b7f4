"""An original NetSel client, byte by byte, against a server on the seed's ports.

Written from the protocol alone: 256 bytes padded with NUL, one read of 512 bytes, fields split at bars.
"""

import http.client
import socket
import struct
import threading
import time

HOST = "127.0.0.1"


def send(text, read=True):
    """What the original does: connect, write 256 padded bytes, read once."""
    with socket.create_connection((HOST, 9000), timeout=10) as s:
        s.sendall(text.encode().ljust(256, b"\0"))
        return s.recv(512) if read else None


def register(name):
    answer = send(name)
    parts = answer.decode().split("|")
    assert len(parts) >= 4 and parts[0] == "SUCCESS", answer
    assert answer.endswith(b"\0") and parts[3] == "86400\0", answer
    return parts[1], int(parts[2])


def answer_connection(connection):
    with connection:
        data = connection.recv(4096)
        if data.startswith(b"GET "):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
            return
        while data:
            connection.sendall(data)
            data = connection.recv(4096)


def serve(port):
    listener = socket.create_server((HOST, port))

    def loop():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer_connection, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def resolve(name):
    """The A records of a name; None when there is no such name."""
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    for label in name.split("."):
        query += bytes([len(label)]) + label.encode()
    query += b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.sendto(query, (HOST, 5353))
        answer = s.recv(4096)
    _, flags, _, count, _, _ = struct.unpack(">HHHHHH", answer[:12])
    if flags & 15 == 3:
        return None
    assert flags & 15 == 0, flags
    at, found = len(query), []
    for _ in range(count):
        while answer[at] and answer[at] & 0xC0 == 0:
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        kind, _, _, length = struct.unpack(">HHIH", answer[at : at + 10])
        at += 10
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at : at + length]))
        at += length
    return found


def through_tcp_proxy(name, bare):
    """The name, then bytes. Original clients send the bare name and wait before they talk."""
    with socket.create_connection((HOST, 8080), timeout=10) as s:
        if bare:
            s.sendall(name.encode())
            time.sleep(1)
        else:
            s.sendall(name.encode() + b"\n")
        s.sendall(b"over the proxy")
        got = b""
        while len(got) < len(b"over the proxy"):
            piece = s.recv(4096)
            assert piece, (name, bare, got)
            got += piece
        return got


def through_http_proxy(name):
    connection = http.client.HTTPConnection(HOST, 8081, timeout=10)
    connection.request("GET", "/", headers={"Host": name})
    response = connection.getresponse()
    return response.status, response.read()


ip, port = register("original")
print(f"registered as {ip}:{port}")
assert 9001 <= port <= 9999, port
serve(port)

again = register("original")
assert again == (ip, port), again
print("registered again at once, with the same address and port")

assert send("HEARTBEAT|original") == b"HEARTBEAT_OK"
send("HEARTBEAT|original", read=False)
assert send("HEARTBEAT|nobody") == b"HEARTBEAT_FAILED"
print("heartbeats are answered, and whoever does not read the answer harms nobody")

refused = send("no such name!")
assert refused.startswith(b"FAILED|") and refused.endswith(b"\0"), refused
print(f"refused with a reason: {refused[7:-1].decode()}")

other = register("another")
assert other[1] != port and other[0] != ip, other
print("another service has an address and a port of its own")

assert resolve("original.service.consul") == [HOST]
assert resolve("original"), resolve("original")
assert resolve("nobody.service.consul") is None
print("DNS leads to it")

assert through_tcp_proxy("original", bare=False) == b"over the proxy"
assert through_tcp_proxy("original", bare=True) == b"over the proxy"
print("the TCP proxy leads to it, with a line and with a bare name")

assert through_http_proxy("original") == (200, b"hello")
print("the HTTP proxy leads to it")

deadline = time.time() + 30
while resolve("another.service.consul") is not None:
    assert time.time() < deadline, "a service without heartbeats stays"
    assert send("HEARTBEAT|original") == b"HEARTBEAT_OK"
    time.sleep(0.2)
assert send("HEARTBEAT|another") == b"HEARTBEAT_FAILED"
assert resolve("original.service.consul") == [HOST]
print("without heartbeats it goes, with heartbeats it stays")

print("all as in the original, and better")
