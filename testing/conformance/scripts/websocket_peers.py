"""A WebSocket server and a client by the `websockets` library.

usage: websocket_peers.py serve NAME           prints its port, echoes until it is ended
       websocket_peers.py call URL HOST        prints what came back
"""
import asyncio
import sys

import websockets


async def serve(name):
    async def echo(socket):
        async for message in socket:
            if isinstance(message, bytes):
                await socket.send(message[::-1])
            else:
                await socket.send(f"{name}:{message}")

    server = await websockets.serve(echo, "127.0.0.1", 0, max_size=None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()


async def call(url, host):
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    async with websockets.connect(
        f"ws://{host}{parts.path}", host=parts.hostname, port=parts.port, max_size=None
    ) as socket:
        await socket.send("hello")
        print("text", await socket.recv())
        large = bytes(range(256)) * 4096
        await socket.send(large)
        print("binary", (await socket.recv()) == large[::-1])
        pong = await socket.ping()
        await asyncio.wait_for(pong, 10)
        print("pong")
    print("closed", socket.close_code)


if __name__ == "__main__":
    asyncio.run({"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:]))
