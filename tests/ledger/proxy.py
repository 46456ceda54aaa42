"""A network that can be slow, cut in the middle of an answer, or take everything in and say nothing. For tests only."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from benchmarks.server import free_port

#: A slow network also brings answers in pieces, so that a cut leaves half of one.
PIECE_BYTES = 200
#: Close without a farewell: linger, for no time.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on to a port of this machine, or to a socket of the file system, in a thread of its own."""

    def __init__(self, target: int | Path) -> None:
        self.target = target
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        #: Seconds that every piece takes, in both directions.
        self.delay = 0.0
        self.is_down = False
        #: Takes what comes, and passes nothing on.
        self.is_silent = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def cut(self, seconds: float) -> None:
        """Resets every connection, whatever is on its way, and refuses new ones for so long."""
        self.is_down = True
        asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()
        time.sleep(seconds)
        self.is_down = False

    async def _reset(self) -> None:
        for writer in self._open:
            connection = writer.get_extra_info("socket")
            if connection.fileno() >= 0:  # else it has been closed in the meantime
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = None
        self._open.add(writer)
        with suppress(OSError):
            if not self.is_down:
                if isinstance(self.target, int):
                    back, onward = await asyncio.open_connection("127.0.0.1", self.target)
                else:
                    back, onward = await asyncio.open_unix_connection(self.target)
                self._open.add(onward)
                await asyncio.gather(self._pass(reader, onward), self._pass(back, writer))
        for one in (writer, onward):
            if one is not None:
                self._open.discard(one)
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side has gone; then the other hears it too."""
        try:
            while data := await reader.read(PIECE_BYTES if self.delay else 65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                while self.is_silent:
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def __enter__(self) -> Proxy:
        self._thread.start()
        listening = asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self._listener = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_down = True
        self._loop.call_soon_threadsafe(self._listener.close)
        asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        if under_way:
            await asyncio.wait(under_way, timeout=2.0)
