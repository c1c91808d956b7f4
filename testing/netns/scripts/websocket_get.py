"""Asks an HTTP server behind a WebSocket: websocket_get.py URI [TOKEN]"""
import asyncio
import sys

import websockets


async def main():
    headers = {"Authorization": "Bearer " + sys.argv[2]} if len(sys.argv) > 2 else {}
    connecting = websockets.connect(sys.argv[1], additional_headers=headers, proxy=None, open_timeout=60)
    async with connecting as web:
        await web.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        async for message in web:
            sys.stdout.write(message.decode())


asyncio.run(main())
