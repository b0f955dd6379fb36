"""``GET /docs``: one page to try the service, which needs nothing from elsewhere."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
# Path -> the file in the package, and its type.
FILES = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/docs/abi.js": ("abi.js", "text/javascript; charset=utf-8"),
    "/docs/style.css": ("style.css", "text/css; charset=utf-8"),
}
PATHS = frozenset(FILES)
HEADERS = {
    # Nothing from elsewhere, nothing inline, and nobody frames a page that asks for a token.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """The page and what it consists of; public, as it holds nothing of the service."""
    return [Route(path, _answer) for path in FILES]


async def _answer(request: Request) -> Response:
    name, media_type = FILES[request.scope["path"]]
    return Response(_content(name), headers=HEADERS, media_type=media_type)


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
