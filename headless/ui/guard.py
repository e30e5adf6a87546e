"""Who may talk to the server: pages that it served itself, on this machine, and programs without a page.

A web page from anywhere can make a browser send requests to 127.0.0.1, and a name that an attacker controls can be made
to lead there. So the Host must be a name of this machine, and where a browser tells the page's origin it must be ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; media-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; frame-ancestors 'self'"
)
"""The front end works without any other server; with this policy the browser does not even ask one."""


def refusal(headers: Mapping[str, str]) -> str | None:
    """Why a request with these headers is not answered, or None where it is."""
    host = headers.get("Host", "")
    if not is_loopback(_name(host)):
        return f"This server answers to the names of this machine only, not to {host!r}."
    if headers.get("Sec-Fetch-Site") == "cross-site":
        return "This server answers no page of another site."
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"This server answers its own pages only, not {origin!r}."
    return None


def is_loopback(name: str) -> bool:
    """Whether a host's name means this machine, without asking any name server."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """`[::1]:8188` to `::1`; an empty string where it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what `refusal` objects to, and tells the browser to load nothing from elsewhere."""
    reason = refusal(request.headers)
    if reason is not None:
        return web.Response(status=403, text=reason)
    response = await handler(request)
    if not response.prepared:
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        if "Cache-Control" not in response.headers:
            # The pack's own files change between two starts; the browser asks whether they did.
            response.headers["Cache-Control"] = "no-cache"
    return response
