"""ComfyUI's own front end on this machine, backed by the runner: to try the graph where there is no ComfyUI.

A bounded stand-in, never a replacement: the FaceStylist nodes, Load Image, Save Image and Preview Image, on loopback.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from ...runtime.folders import Folders
from ..console import Console, require

HELP = "ComfyUI's front end on this machine, backed by the runner (a stand-in for where there is no ComfyUI)"
ADDRESS = "127.0.0.1"
PORT = 8199
HIGHEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=PORT, help=f"its port, 0 for any free one (default: {PORT})")
    parser.add_argument("--input-dir", type=Path, metavar="DIR", help="where pictures are looked for (default: input)")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="where pictures go (default: output)")
    parser.add_argument("--user-dir", type=Path, metavar="DIR", help="settings, saved workflows (default: user)")


def run(args: argparse.Namespace, console: Console) -> None:
    require(0 <= args.port <= HIGHEST_PORT, f"--port is {args.port}; it has to lie between 0 and {HIGHEST_PORT}")
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise RuntimeError("`facestylist ui` needs aiohttp. Run `pip install aiohttp`.") from error
    import asyncio

    from ...headless.ui.frontend import static_root
    from ...runtime.folders import current_folders

    root = static_root()
    with tempfile.TemporaryDirectory(prefix="facestylist-ui-") as temp:
        folders = replace(current_folders(), temp=Path(temp))
        user = args.user_dir or Path.cwd() / "user"
        asyncio.run(_serve(root, folders, user, args.port, console))


async def _serve(root: Path, folders: Folders, user: Path, port: int, console: Console) -> None:
    """Listens until the process is told to stop."""
    import asyncio
    import signal
    from contextlib import suppress

    from aiohttp import web

    from ...headless.ui.frontend import version
    from ...headless.ui.server import create_app

    runner = web.AppRunner(create_app(root, folders, user), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, ADDRESS, port)
        try:
            await site.start()
        except OSError as error:
            raise RuntimeError(
                f"Port {port} of this machine cannot be listened to ({os.strerror(error.errno or 0)}). Choose another "
                "with --port, or 0 for any free one."
            ) from error
        url = f"http://{ADDRESS}:{runner.addresses[0][1]}"
        console.line(url)
        console.result({"url": url, "frontend": version()})
        console.note(f"ComfyUI's front end {version()} with the FaceStylist nodes is at {url}; Ctrl-C stops it.")
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt there
                loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
    finally:
        await runner.cleanup()
