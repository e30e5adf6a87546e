"""The routes: which address is answered by what.

Every address exists with and without `/api` in front, as on ComfyUI's server.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from ...core.files import write_atomically
from ...runtime.folders import MODEL_EXTENSIONS, Folders, list_model_files, use_folders
from ..runner import Runner
from . import catalogue, files, frontend
from .guard import Handler, guard
from .hub import FEATURES, Hub
from .jobs import STATES, Job, JobQueue
from .queueing import Refused, make_job

VERSION = "0.33.0"
"""The ComfyUI whose server this one resembles."""

LARGEST_UPLOAD = 100 << 20

DEFAULT_SETTINGS: dict[str, Any] = {"Comfy.TutorialCompleted": True, "Comfy.Notification.ShowVersionUpdates": False}
"""Without the first the front end opens its template browser over the canvas at the first start, and without the second
it asks a server elsewhere for news."""

HUB: web.AppKey[Hub] = web.AppKey("hub", Hub)
JOBS: web.AppKey[JobQueue] = web.AppKey("jobs", JobQueue)


def create_app(static_root: Path, folders: Folders, user: Path, runner: Runner | None = None) -> web.Application:
    """The server.

    Args:
        static_root: the front end's files.
        folders: where pictures and models are.
        user: where settings and saved workflows are.
        runner: runs the workflows; one with our nodes and the core nodes it knows unless given.
    """
    server = _Server(static_root, folders, user, runner or Runner())
    app = web.Application(client_max_size=LARGEST_UPLOAD, middlewares=[guard, server.in_folders])
    app[HUB], app[JOBS] = server.hub, server.jobs
    for method, path, handler in server.routes():
        app.router.add_route(method, path, handler)
        app.router.add_route(method, f"/api{path}", handler)
    app.router.add_get("/", server.index)
    app.router.add_get("/user.css", server.style)
    app.router.add_static(f"/api/workflow_templates/{catalogue.PACK}", catalogue.WORKFLOWS)
    if catalogue.WEB.is_dir():
        app.router.add_static(f"/extensions/{catalogue.PACK}", catalogue.WEB)
    app.router.add_static("/", static_root)
    app.cleanup_ctx.append(server.run)
    return app


class _Server:
    """The handlers, and what they share."""

    def __init__(self, static_root: Path, folders: Folders, user: Path, runner: Runner) -> None:
        self.hub = Hub()
        with use_folders(folders):
            self.jobs = JobQueue(runner, self.hub)
        self._static_root = static_root
        self._folders = folders
        self._runner = runner
        self._user = files.UserData(user / "default")
        self.style = self._user.style
        self._number = 0

    @property
    def in_folders(self) -> Any:
        """The middleware that puts every handler into these folders."""

        @web.middleware
        async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
            with use_folders(self._folders):
                return await handler(request)

        return enter

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        """The thread that runs workflows and the task that sends messages, while the server is up."""
        delivery = asyncio.create_task(self.hub.deliver())
        self.jobs.start()
        yield
        await self.hub.close()
        await asyncio.to_thread(self.jobs.stop)
        delivery.cancel()

    def routes(self) -> Sequence[tuple[str, str, Callable[[web.Request], Any]]]:
        return (
            ("GET", "/ws", self.websocket),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{name}", self.object_info),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/features", _constant(FEATURES)),
            ("GET", "/extensions", self.extensions),
            ("GET", "/i18n", self.translations),
            ("GET", "/workflow_templates", self.templates),
            ("GET", "/users", _constant({"storage": "server", "migrated": True})),
            ("GET", "/settings", self.settings),
            ("POST", "/settings", self.save_settings),
            ("POST", "/settings/{name}", self.save_setting),
            ("GET", "/userdata", self._user.listing),
            ("GET", "/userdata/{file}", self._user.get),
            ("POST", "/userdata/{file}", self._user.put),
            ("DELETE", "/userdata/{file}", self._user.delete),
            ("POST", "/userdata/{file}/move/{dest}", self._user.move),
            ("GET", "/global_subgraphs", _constant({})),
            ("GET", "/node_replacements", _constant({})),
            ("GET", "/embeddings", _constant([])),
            ("GET", "/experiment/models", self.model_folders),
            ("GET", "/experiment/models/{folder}", self.model_files),
            ("GET", "/internal/folder_paths", self.model_paths),
            ("GET", "/internal/files/{kind}", self.own_files),
            ("GET", "/prompt", self.status),
            ("POST", "/prompt", self.queue_prompt),
            ("GET", "/queue", self.queue),
            ("POST", "/queue", self.change_queue),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/history", self.history),
            ("GET", "/history/{id}", self.history),
            ("POST", "/history", self.change_history),
            ("GET", "/jobs", self.list_jobs),
            ("POST", "/jobs/cancel", self.cancel_jobs),
            ("GET", "/jobs/{id}", self.one_job),
            ("POST", "/jobs/{id}/cancel", self.cancel_job),
            ("GET", "/view", files.view),
            ("POST", "/upload/image", files.upload),
        )

    # What there is.

    async def index(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self._static_root / "index.html", headers={"Cache-Control": "no-store"})

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        return await self.hub.serve(request, self.jobs.status())

    async def object_info(self, request: web.Request) -> web.Response:
        info = catalogue.object_info(self._runner.classes, self._runner.display_names)
        name = request.match_info.get("name")
        if name is not None:
            info = {name: info[name]} if name in info else {}
        return web.json_response(info)

    async def system_stats(self, request: web.Request) -> web.Response:
        from importlib.metadata import version

        system = {
            "os": sys.platform,
            "comfyui_version": VERSION,
            "python_version": platform.python_version(),
            "pytorch_version": version("torch"),
            "embedded_python": False,
            "argv": ["facestylist", "ui"],
            "ram_total": 0,
            "ram_free": 0,
        }
        return web.json_response({"system": system, "devices": []})

    async def extensions(self, request: web.Request) -> web.Response:
        return web.json_response(catalogue.extensions(self._static_root))

    async def translations(self, request: web.Request) -> web.Response:
        return web.json_response(frontend.translations(catalogue.LOCALES))

    async def templates(self, request: web.Request) -> web.Response:
        return web.json_response(catalogue.templates())

    async def model_folders(self, request: web.Request) -> web.Response:
        folders = [{"name": kind, "folders": [str(self._folders.models / kind)]} for kind in MODEL_EXTENSIONS]
        return web.json_response(folders)

    async def model_files(self, request: web.Request) -> web.Response:
        kind = request.match_info["folder"]
        if kind not in MODEL_EXTENSIONS:
            raise web.HTTPNotFound(text=f"There is no model folder {kind!r}.")
        return web.json_response([{"name": name, "pathIndex": 0} for name in list_model_files(kind)])

    async def model_paths(self, request: web.Request) -> web.Response:
        return web.json_response({kind: [str(self._folders.models / kind)] for kind in MODEL_EXTENSIONS})

    async def own_files(self, request: web.Request) -> web.Response:
        folder = files.folder_of(request.match_info["kind"])
        if folder is None:
            raise web.HTTPNotFound(text="There are the folders input, output and temp.")
        found = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        found.sort(key=lambda path: -path.stat().st_mtime)
        return web.json_response([path.relative_to(folder).as_posix() for path in found])

    # The user's settings.

    async def settings(self, request: web.Request) -> web.Response:
        return web.json_response(self._settings())

    async def save_settings(self, request: web.Request) -> web.Response:
        changed = await _body(request)
        self._write_settings({**self._settings(), **changed})
        return web.Response()

    async def save_setting(self, request: web.Request) -> web.Response:
        try:
            value = json.loads(await request.text())
        except json.JSONDecodeError as error:
            raise web.HTTPBadRequest(text=f"The setting is not JSON ({error}).") from error
        self._write_settings({**self._settings(), request.match_info["name"]: value})
        return web.Response()

    def _settings(self) -> dict[str, Any]:
        path = self._user.folder / "comfy.settings.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            stored = {}
        return {**DEFAULT_SETTINGS, **(stored if isinstance(stored, dict) else {})}

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._user.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(settings, indent=4)
        write_atomically(self._user.folder / "comfy.settings.json", lambda file: file.write(text.encode()))

    # The queue.

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs.status())

    async def queue_prompt(self, request: web.Request) -> web.Response:
        posted = await _body(request)
        self._number += 1
        number = float(posted.get("number") or (-self._number if posted.get("front") else self._number))
        try:
            job, node_errors = make_job(posted, self._runner, number)
        except Refused as refused:
            return web.json_response(refused.body(), status=400)
        self.jobs.submit(job)
        return web.json_response({"prompt_id": job.id, "number": number, "node_errors": node_errors})

    async def queue(self, request: web.Request) -> web.Response:
        running, waiting = self.jobs.running(), self.jobs.waiting()
        return web.json_response(
            {
                "queue_running": [job.queue_entry() for job in running],
                "queue_pending": [job.queue_entry() for job in waiting],
            }
        )

    async def change_queue(self, request: web.Request) -> web.Response:
        posted = await _body(request)
        if posted.get("clear"):
            self.jobs.remove(None)
        if posted.get("delete"):
            self.jobs.remove(posted["delete"])
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        self.jobs.interrupt((await _body(request)).get("prompt_id"))
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        if (await _body(request)).get("free_memory"):
            self.jobs.free_memory()
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        over = {job.id: job.history_entry() for job in self.jobs.over()}
        wanted = request.match_info.get("id")
        if wanted is not None:
            over = {wanted: over[wanted]} if wanted in over else {}
        elif "max_items" in request.query:
            over = dict(list(over.items())[-max(_whole(request, "max_items", 0), 1) :])
        return web.json_response(over)

    async def change_history(self, request: web.Request) -> web.Response:
        posted = await _body(request)
        if posted.get("clear"):
            self.jobs.forget_history(None)
        if posted.get("delete"):
            self.jobs.forget_history(posted["delete"])
        return web.Response()

    async def list_jobs(self, request: web.Request) -> web.Response:
        wanted = [name for name in request.query.get("status", "").split(",") if name] or list(STATES)
        jobs: list[Job] = [*self.jobs.running(), *self.jobs.waiting(), *reversed(self.jobs.over())]
        jobs = [job for job in jobs if job.state in wanted]
        jobs.sort(key=lambda job: job.created, reverse=request.query.get("sort_order", "desc") != "asc")
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", len(jobs) or 1)
        page = jobs[offset : offset + limit]
        more = offset + len(page) < len(jobs)
        pages = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}
        return web.json_response({"jobs": [job.record() for job in page], "pagination": pages})

    async def one_job(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        for job in (*self.jobs.running(), *self.jobs.waiting(), *self.jobs.over()):
            if job.id == wanted:
                return web.json_response(job.record(whole=True))
        return web.json_response({"error": f"There is no job {wanted}."}, status=404)

    async def cancel_job(self, request: web.Request) -> web.Response:
        return web.json_response({"cancelled": self.jobs.cancel(request.match_info["id"])})

    async def cancel_jobs(self, request: web.Request) -> web.Response:
        ids = (await _body(request)).get("job_ids") or []
        return web.json_response({"cancelled": any([self.jobs.cancel(str(job_id)) for job_id in ids])})


def _constant(answer: Any) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(answer)

    return handler


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object that was posted; an empty one for an empty body."""
    text = await request.text()
    try:
        body = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON ({error}).") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object.")
    return body


def _whole(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isdigit() else default
