"""Talks to the service "chat" through the proxy at the given port."""
import asyncio
import os
import sys

import websockets


async def main():
    port = int(sys.argv[1])
    async with websockets.connect("ws://chat/room", host="127.0.0.1", port=port, max_size=None, proxy=None) as chat:
        for message in ["hello", b"\x00\xff", os.urandom(8_000_000)]:
            await chat.send(message)
            assert await chat.recv() == message
        await chat.ping()
    print("closed with", chat.close_code)


asyncio.run(main())
