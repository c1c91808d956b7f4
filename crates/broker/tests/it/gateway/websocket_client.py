"""Talks to the service "echo" through the gateway at the given port."""
import asyncio
import base64
import os
import sys

import websockets

BASIC = "Basic " + base64.b64encode(b"shop:sesame").decode()


def connect(port, path, headers):
    uri = f"ws://127.0.0.1:{port}{path}"
    return websockets.connect(uri, additional_headers=headers, proxy=None, max_size=None, open_timeout=60)


async def hear(connection, size):
    heard = b""
    while len(heard) < size:
        heard += await connection.recv()
    return heard


async def main():
    port = int(sys.argv[1])
    async with connect(port, "/echo", {"Authorization": BASIC}) as echo:
        for message in [b"\x00\xff", os.urandom(3_000_000)]:
            await echo.send(message)
            assert await hear(echo, len(message)) == message
        # In fragments, with a ping between.
        await echo.send([b"frag", b"", b"ment"])
        await (await echo.ping())
        assert await hear(echo, 8) == b"fragment"
    assert echo.close_code == 1000, echo.close_code
    async with connect(port, "/echo", {"Authorization": BASIC}) as echo:
        text = '{"mtype":1,"utype":3,"payload":"κόσμε"}'
        await echo.send(text)
        assert await echo.recv() == text
    try:
        async with connect(port, "/echo", {"Authorization": "Bearer barley"}):
            raise SystemExit("it was let in")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 403, refused
    print("closed with", echo.close_code)


asyncio.run(main())
