"""The page at ``/``: files of the package, sent with a policy that lets a browser run nothing else."""

from importlib.resources import files

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def is_page(path: str) -> bool:
    """Whether a path is one of the page's own files, which hold nothing of the router and need no key."""
    return path == "/" or path.startswith("/page/")


def add_page(app: FastAPI) -> None:
    """Serve the page."""
    folder = files("unirouter_torch.serving") / "static"
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES}

    async def page() -> Response:
        return await file("index.html")

    async def file(name: str) -> Response:
        if name not in found:
            raise HTTPException(404)
        return Response(found[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)

    app.add_api_route("/", page, methods=["GET"], response_model=None, include_in_schema=False)
    app.add_api_route("/page/{name}", file, methods=["GET"], response_model=None, include_in_schema=False)
