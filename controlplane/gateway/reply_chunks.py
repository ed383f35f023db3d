"""Answers of a store below as bodies of our own."""

from __future__ import annotations

from controlplane.ports.upstream import Reply


class ReplyChunks:
    """The body of an answer for the engine, which closes it, also if it was never begun."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __aiter__(self) -> ReplyChunks:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._reply.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._reply.close()
