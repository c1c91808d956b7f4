"""Speaks px with aioquic: sends what the test says, prints every record that comes back, one line each.

px_peer.py HOST PORT SERVER_NAME CA ALPN MODE [CERT KEY]; pieces of hexadecimal digits on standard input, a line each.
MODE is "uni" or "bidi". Ends when COUNT records (the first line of the input) have come back, or with what went wrong.
"""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived


class Peer(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.held, self.records, self.changed, self.ended = b"", [], asyncio.Event(), None
        Peer.last = self

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            *whole, self.held = (self.held + event.data).split(b"\r")
            self.records += whole
        if isinstance(event, ConnectionTerminated):
            self.ended = event.reason_phrase or f"error {event.error_code}"
        self.changed.set()


async def main():
    host, port, name, ca, alpn, mode, *own = sys.argv[1:]
    count, *pieces = sys.stdin.read().split()
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], server_name=name)
    configuration.load_verify_locations(ca)
    if own:
        configuration.load_cert_chain(*own)
    async with connect(host, int(port), configuration=configuration, create_protocol=Peer) as peer:
        stream = peer._quic.get_next_available_stream_id(is_unidirectional=mode == "uni")
        for piece in pieces:
            peer._quic.send_stream_data(stream, bytes.fromhex(piece))
            peer.transmit()
            await peer.ping()
        while len(peer.records) < int(count) and peer.ended is None:
            await asyncio.wait_for(peer.changed.wait(), 20)
            peer.changed.clear()
        for record in peer.records:
            print(record.decode())
        if peer.ended is not None:
            sys.exit(f"ended: {peer.ended}")


try:
    asyncio.run(main())
except ConnectionError:
    # The error itself is empty when the connection ends while something waits for it.
    sys.exit(f"refused: {Peer.last.ended}")
