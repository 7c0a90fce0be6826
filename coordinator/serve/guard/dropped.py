"""Stop what is done for a client that has gone away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from coordinator.serve.problems import ClientGone

Made = TypeVar("Made")


async def unless_dropped(request: Request, work: Coroutine[Any, Any, Made]) -> Made:
    """What `work` gives; where the client goes away before, `work` is cancelled, and ClientGone is raised.

    The body of the request has to be read before.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
