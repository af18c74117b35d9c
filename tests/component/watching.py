"""A client's side of Watch: what it is told, and what it makes of that."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from component.rpc_support import (
    failure_of,
    serving,
)

from sidecar._pb import cache_pb2 as pb

CODE = grpc.StatusCode
SNAPSHOT = {"snapshot": pb.StartSnapshot()}
PLENTY_S = 10


class Watch:
    """One watch, and what a client makes of it."""

    def __init__(self, client, **request):
        self.call = client.cache.Watch(pb.WatchRequest(**request))
        self.events, self.responses = [], []
        self.held, self.token = {}, ""

    async def read(self):
        async with asyncio.timeout(PLENTY_S):
            response = await self.call.read()
        assert response is not grpc.aio.EOF, await self.call.details()
        self.responses.append(response)
        self.token = response.resume_token or self.token
        for event in response.events:
            self.meet(event)
        return response

    def meet(self, event):
        self.events.append(event)
        kind = event.WhichOneof("event")
        if kind == "upsert":
            self.held[event.upsert.key] = event.upsert.value
        elif kind == "deletion":
            self.held.pop(event.deletion.key, None)
        elif kind == "reset":
            self.held = {}

    async def until(self, kind):
        """Read until an event of a kind comes, and give it."""
        while True:
            for event in (await self.read()).events:
                if event.WhichOneof("event") == kind:
                    return getattr(event, kind)

    async def until_held(self, held):
        while self.held != held:
            await self.read()

    async def refusal(self):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.to_the_end()
        return failure_of(caught.value)

    async def to_the_end(self):
        async with asyncio.timeout(PLENTY_S):
            while await self.call.read() is not grpc.aio.EOF:
                pass

    @property
    def kinds(self):
        return [event.WhichOneof("event") for event in self.events]


@asynccontextmanager
async def watching(*served, **given):
    async with serving(*served, **given) as client:
        yield lambda **request: Watch(client, **request)


def held_by(served):
    known = served.view.table
    return {key: known.get(key)[0] for key in known}
