"""Passes connections on to a server and, once so many bytes went there, is gone: a server that vanishes.

`python -m tests.relay PORT SERVER_PORT BYTES`, all on loopback; 0 bytes: it stays.
"""

from __future__ import annotations

import asyncio
import os
import sys


async def main(port: int, server_port: int, most: int) -> None:
    left = most or sys.maxsize

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        nonlocal left
        while data := await reader.read(1 << 16):
            left -= len(data) if counts else 0
            if left < 0:
                os._exit(0)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(pass_on(reader, server_writer, True), pass_on(server_reader, writer, False))

    async with await asyncio.start_server(connect, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
