# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: what can be asked for, and who answers.

Volumes are read in threads, since a read can take as long as the network that a backup's blocks come over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from . import archives, files, names
from .description import Description
from .downloads import Downloads
from .guard import CONTENT_POLICY, Guard, refusing
from .life import Life
from .listing import Listings, Query
from .names import Parts
from .put_back import PutBacks
from .refusals import CutOff, Refused, refusal
from .requests_log import RequestsLog
from .search import matcher, search
from .sessions import COOKIE, Session, Sessions
from .volumes import Volume

T = TypeVar("T")
_PAGE = Path(__file__).parent / "page"
_MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Seconds: of one look into a volume, and of a request's body to come.
_LOOK_SECONDS = 60.0
_BODY_SECONDS = 20.0
_LONGEST_BODY = 1 << 20
_MOST_CHOSEN = 10_000
_MOST_SEARCHES = 4


class Recovery:
    """The handlers, and what they share. Raises OSError when a volume that should be there is not."""

    def __init__(self, description: Description, life: Life, folder: Path, log: RequestsLog) -> None:
        self.description = description
        self.life = life
        self.log = log
        self.sessions = Sessions(description.token_sha256)
        self.downloads = Downloads()
        self.put_backs = PutBacks(folder)
        self._volumes = {each.id: Volume(each.id, each.name, each.path) for each in description.volumes if each.path}
        self._listings = Listings()
        self._searches = asyncio.Semaphore(_MOST_SEARCHES)
        self._counting: set[asyncio.Future[None]] = set()
        self._page = {each.name: each.read_bytes() for each in _PAGE.iterdir() if each.suffix in _MEDIA}
        life.busy = lambda: self.downloads.running > 0
        life.shows = lambda: {"downloads": self.downloads.running, "put_back": self.put_backs.shown()}

    def application(self) -> ASGIApp:
        """All of it, guarded."""
        routes = [
            Route("/", self.page),
            Route("/page/{name}", self.page),
            Route("/api/session", self.open, methods=["POST"]),
            Route("/api/recovery", self.recovery),
            Route("/api/watch", self.watch),
            Route("/api/stay", self.stay, methods=["POST"]),
            Route("/api/end", self.end, methods=["POST"]),
            Route("/api/entries", self.entries),
            Route("/api/search", self.search),
            Route("/api/preview", self.preview),
            Route("/api/image", self.image),
            Route("/api/file", self.file),
            Route("/api/downloads", self.make_download, methods=["POST"]),
            Route("/api/downloads/{id}", self.download),
            Route("/api/downloads/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/put-back", self.put_back, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {Refused: _refused, OSError: _failed}
        inner = Starlette(routes=routes, exception_handlers=handlers)
        return Guard(inner, self.description.hosts, self.sessions, self.life, self.log)

    async def page(self, request: Request) -> Response:
        """The page itself, which tells nothing of the recovery."""
        name = request.path_params.get("name", "index.html")
        _note(request, "page")
        if name not in self._page:
            raise Refused(404, "There is no such page.")
        return Response(self._page[name], media_type=_MEDIA[Path(name).suffix])

    async def open(self, request: Request) -> Response:
        """The token for a cookie."""
        _note(request, "open")
        cookie, session = self.sessions.open((await _body(request)).get("token"), request.state.address)
        request.scope["state"]["opened"] = session
        response = JSONResponse({"who": session.name})
        response.set_cookie(COOKIE, cookie, secure=True, httponly=True, samesite="strict", path="/")
        self.life.used()
        return response

    async def recovery(self, request: Request) -> Response:
        """What this is about."""
        _note(request, "recovery")
        volumes = [{**asdict(each), "path": "", "shown": bool(each.path)} for each in self.description.volumes]
        about = {"source": dict(self.description.source), "volumes": volumes, "put_back": self.description.put_back}
        return JSONResponse({**about, "who": _session(request).name, **self._times()})

    async def watch(self, request: Request) -> Response:
        """How far everything is. That the page asks for it is no sign of anybody."""
        _note(request, "watch")
        downloads = [each.shown() for each in self.downloads.of(_session(request))]
        return JSONResponse({**self._times(), "downloads": downloads, "put_back": self.put_backs.shown()})

    async def stay(self, request: Request) -> Response:
        """Somebody is there."""
        _note(request, "stay")
        self.life.used()
        return JSONResponse(self._times())

    async def end(self, request: Request) -> Response:
        """It is over, for everybody."""
        _note(request, "end")
        self.life.end("asked", f"{_session(request).name} at {request.state.address}")
        return JSONResponse({"ended": True})

    async def entries(self, request: Request) -> Response:
        """Part of a folder."""
        volume, parts = self._place(request, "list")
        asked = request.query_params
        query = Query(
            parts,
            asked.get("sort", "name"),
            asked.get("order", "ascending") == "descending",
            _number(asked.get("offset", "0")),
            _number(asked.get("limit", "200")),
        )
        return JSONResponse(await _looked(lambda: self._listings.page(volume, query)))

    async def search(self, request: Request) -> Response:
        """Names below a folder, as lines of JSON."""
        volume, parts = self._place(request, "search")
        words = request.query_params.get("words", "")
        request.state.noted["words"] = words[:255]
        matches = matcher(words)
        await _looked(lambda: _entered(volume, parts))  # once lines are sent, nothing can be refused
        if self._searches.locked():
            raise Refused(429, "Too many searches run already.", 5)

        async def lines() -> AsyncIterator[bytes]:
            async with self._searches:
                async for found in self._streamed(search(volume, parts, matches)):
                    yield json.dumps(found).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def preview(self, request: Request) -> Response:
        """A look at a file."""
        volume, parts = self._place(request, "preview")
        return JSONResponse(await _looked(lambda: files.preview(volume, parts)))

    async def image(self, request: Request) -> Response:
        """An image, for the page to show."""
        volume, parts = self._place(request, "image")
        return self._sending(await _looked(lambda: files.image(volume, parts)))

    async def file(self, request: Request) -> Response:
        """A file, or a part of it."""
        volume, parts = self._place(request, "file")
        wanted, unless_changed = request.headers.get("range", ""), request.headers.get("if-range", "")
        if wanted:
            request.state.noted["range"] = wanted[:64]
        return self._sending(await _looked(lambda: files.send(volume, parts, wanted, unless_changed)))

    async def make_download(self, request: Request) -> Response:
        """An archive is asked for; it is made when it is fetched."""
        body = await _body(request)
        volume, base, chosen = self._chosen(request, "archive", body)
        form = body.get("format")
        if form not in archives.FORMATS:
            raise Refused(400, f"An archive is a {' or a '.join(archives.FORMATS)}.")
        download = self.downloads.make(_session(request), volume, base, chosen, str(form))
        request.state.noted["download"] = download.id
        return JSONResponse(download.shown(), 201)

    async def download(self, request: Request) -> Response:
        """An archive's content."""
        _note(request, "download", download=request.path_params["id"])
        download = self.downloads.find(_session(request), request.path_params["id"])
        content = self.downloads.begin(download)
        counting = asyncio.ensure_future(anyio.to_thread.run_sync(download.count))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)
        headers = {"content-disposition": names.attachment(download.name)}
        return StreamingResponse(self._streamed(content), 200, headers, archives.media_type(download.form))

    async def cancel(self, request: Request) -> Response:
        """An archive is not wanted any more."""
        _note(request, "cancel", download=request.path_params["id"])
        download = self.downloads.find(_session(request), request.path_params["id"])
        if download.state in ("waiting", "running"):
            download.state = "canceled"
        return JSONResponse(download.shown())

    async def put_back(self, request: Request) -> Response:
        """Files are to go back to where they came from."""
        body = await _body(request)
        volume, base, chosen = self._chosen(request, "put back", body)
        mode = body.get("mode")
        request.state.noted["mode"] = mode if isinstance(mode, str) else ""
        if mode not in self.description.put_back:
            raise Refused(403, "Files cannot be put back from here.")
        if () in chosen:
            raise Refused(400, "Choose what is to be put back.")
        request.state.noted["put_back"] = self.put_backs.ask(
            volume.identity, base, chosen, str(mode), _session(request)
        ).id
        return JSONResponse({"id": request.state.noted["put_back"]}, 201)

    def _sending(self, sending: files.Sending) -> Response:
        headers = {**sending.headers, "content-security-policy": CONTENT_POLICY}
        return StreamingResponse(self._streamed(sending.content), sending.status, headers)

    async def _streamed(self, content: Iterator[T]) -> AsyncIterator[T]:
        """The same, each made in a thread; what it holds open is closed with it. Raises CutOff when it cannot go on."""
        try:
            async for each in iterate_in_threadpool(content):
                if self.life.over.is_set():
                    raise CutOff
                yield each
        except OSError as error:
            raise CutOff from error
        finally:
            if isinstance(content, Generator):
                content.close()

    def _times(self) -> dict[str, float]:
        return {"idle_left": round(self.life.idle_left), "time_left": round(self.life.time_left)}

    def _place(self, request: Request, action: str) -> tuple[Volume, Parts]:
        asked = request.query_params
        parts = names.parse(asked.get("path", ""))
        _note(request, action, volume=asked.get("volume", "")[:64], path=names.wire(parts))
        return self._volume(asked.get("volume")), parts

    def _chosen(
        self, request: Request, action: str, body: Mapping[str, Any]
    ) -> tuple[Volume, Parts, tuple[Parts, ...]]:
        base, paths = body.get("path"), body.get("paths")
        if not isinstance(base, str) or not isinstance(paths, list) or not all(isinstance(each, str) for each in paths):
            raise Refused(400, "It is not said what was chosen.")
        if not 1 <= len(paths) <= _MOST_CHOSEN:
            raise Refused(400, f"Choose from 1 to {_MOST_CHOSEN:,} entries, or the whole folder.")
        _note(request, action, volume=str(body.get("volume"))[:64], path=base, paths=paths)
        chosen = tuple(names.parse(each) for each in dict.fromkeys(paths))
        return self._volume(body.get("volume")), names.parse(base), _outermost(chosen)

    def _volume(self, identity: object) -> Volume:
        volume = self._volumes.get(identity) if isinstance(identity, str) else None
        if volume is None:
            raise Refused(404, "There is no such volume.")
        return volume


def _outermost(chosen: tuple[Parts, ...]) -> tuple[Parts, ...]:
    """Without what is below another that was chosen as well: nothing is to be in an archive twice."""
    all_of_them = set(chosen)
    return tuple(each for each in chosen if not any(each[:depth] in all_of_them for depth in range(len(each))))


def _session(request: Request) -> Session:
    session: Session = request.state.session
    return session


def _note(request: Request, action: str, **more: object) -> None:
    request.state.noted.update(action=action, **more)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Refused(400, "That is no number.")
    return int(text)


async def _body(request: Request) -> dict[str, Any]:
    """The request's object; raises Refused for what is none, too long, or too slow."""
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > _LONGEST_BODY:
                    raise Refused(413, "The request is too long.")
        value = json.loads(data)
    except TimeoutError:
        raise Refused(408, "The request was too slow.") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "The request is none.")
    return value


async def _looked(look: Callable[[], T]) -> T:
    """What a look into a volume found; raises as it does, and Refused when it takes too long."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
    except TimeoutError:
        raise Refused(504, "The volume did not answer in time.", 10) from None


def _entered(volume: Volume, parts: Parts) -> None:
    with volume.folder(parts):
        pass


async def _refused(_request: Request, refused: Refused) -> Response:
    return refusing(refused)


async def _failed(_request: Request, error: OSError) -> Response:
    return refusing(refusal(error))
