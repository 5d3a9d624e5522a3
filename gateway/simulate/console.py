"""The console over HTTP: a page with buttons, the state, and the actions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .actions import ActionRefused, perform
from .world import World

PAGE = Path(__file__).with_name("console.html")


def application(world: World) -> Starlette:
    """The page, the state and the actions."""

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def state(_: Request) -> Response:
        return JSONResponse(world.state())

    async def perform_action(request: Request) -> Response:
        try:
            given = {**request.query_params, **_body_fields(await request.body())}
            return JSONResponse(perform(world, request.path_params["action"], given))
        except ActionRefused as refusal:
            return JSONResponse({"error": {"zh": refusal.zh, "en": refusal.en}}, refusal.status)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/state", state),
            Route("/do/{action}", perform_action, methods=["POST"]),
        ]
    )


def _body_fields(body: bytes) -> dict[str, str]:
    """The fields of a JSON body, as text, like query parameters."""
    if not body:
        return {}
    try:
        fields = json.loads(body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ActionRefused("请求正文应为 JSON 对象。", "The body must be a JSON object.")
    return {key: str(value) for key, value in fields.items()}


class Server(uvicorn.Server):
    """uvicorn without signal handlers: the simulator has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(world: World, listening_socket: socket.socket) -> None:
    """Serve the console until cancelled."""
    config = uvicorn.Config(
        application(world), log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening_socket]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
