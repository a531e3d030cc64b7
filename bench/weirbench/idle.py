"""Thousands of PostgreSQL clients that log in with SCRAM, ask one thing and then rest, in little memory of our own."""
import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import ssl
import struct
import threading

from .servers import DATABASE, PASSWORD, USER


class Clients:
    """So many clients while the context lasts."""

    def __init__(self, port, count, tls):
        self.port, self.count, self.tls = port, count, tls
        self.keys = {}
        # Nothing is checked, so no certificates have to be loaded.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._connect_all(), self.loop).result()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close_all(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _connect_all(self):
        gate = asyncio.Semaphore(32)

        async def one():
            async with gate:
                return await self._connect()

        self.streams = await asyncio.gather(*(one() for _ in range(self.count)))

    async def _close_all(self):
        for _, writer in self.streams:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self.streams), return_exceptions=True)

    async def _connect(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=4096)
        if self.tls:
            writer.write(struct.pack("!ii", 8, 80877103))
            if await reader.readexactly(1) != b"S":
                raise SystemExit("bench: TLS is refused")
            await writer.start_tls(self.context)
        parameters = b"".join(part.encode() + b"\0" for part in ("user", USER, "database", DATABASE)) + b"\0"
        writer.write(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
        await self._authenticate(reader, writer)
        writer.write(self._message(b"Q", b"SELECT 1\0"))
        await self._until(reader, b"Z")
        return reader, writer

    async def _authenticate(self, reader, writer):
        nonce = base64.b64encode(os.urandom(18)).decode()
        await self._until(reader, b"R")
        bare = f"n=,r={nonce}"
        first = f"n,,{bare}".encode()
        writer.write(self._message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        challenge = (await self._until(reader, b"R"))[4:].decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        key = (fields["s"], fields["i"])
        if key not in self.keys:
            self.keys[key] = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(self.keys[key], b"Client Key", "sha256")
        final = f"c=biws,r={fields['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(), f"{bare},{challenge},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        writer.write(self._message(b"p", f"{final},p={proof}".encode()))
        await self._until(reader, b"Z")

    @staticmethod
    def _message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body

    @staticmethod
    async def _until(reader, kind):
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] == b"E":
                raise SystemExit(f"bench: {body!r}")
            if head[:1] == kind:
                return body
