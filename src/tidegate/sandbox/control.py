"""The control API: shoppers, merchants and accidents by HTTP, and a look into the books. JSON in, JSON out, loopback only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from tidegate.sandbox.books import BooksFull, OutOfStock, summarise
from tidegate.sandbox.faults import FaultProfile, Share
from tidegate.sandbox.limits import report
from tidegate.sandbox.loopback import is_loopback
from tidegate.sandbox.world import HANDLES, Allowance, Name, Place, Purchase, Sale, Sku, Units, World

BODY_BYTES_MAX = 16 << 20
PURCHASES_MAX = 5_000
PAGE_MAX = 10_000
_Body = TypeVar("_Body")
_LARGE = {"orders", "items", "payments", "effects", "changes"}


class StockSetting(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`POST /stock`: somebody counted. Without a location it is the platform's first one."""

    platform: Name
    sku: Sku
    quantity: Units
    location: str | None = None


class Eating(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`POST /eat`: another app takes this share of what the platform's limits let through. 0 ends it."""

    platform: Name
    share: Share


class FaultSetting(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`PUT /faults/{platform}`: the profile from now on; with `for_seconds`, the old one comes back after that."""

    profile: FaultProfile
    for_seconds: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] | None = None


class Refused(Exception):
    """The control API says no. `status` is that of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def build_control(world: World, apps: Mapping[str, web.Application], urls: Callable[[], Any]) -> web.Application:
    """Return the control API over these platforms; `urls` is what the start line said."""
    return _Control(world, apps, urls).app


class _Control:
    def __init__(self, world: World, apps: Mapping[str, web.Application], urls: Callable[[], Any]) -> None:
        self._world, self._apps = world, apps
        self._reverts: dict[str, Any] = {}
        self._bought: dict[str, dict[str, Sale]] = {name: {} for name in world.places}
        self.app = web.Application(middlewares=[_refusals], client_max_size=BODY_BYTES_MAX)

        async def world_view(_: web.Request) -> web.Response:
            return _json(urls())

        route = self.app.router
        route.add_get("/", world_view)
        route.add_post("/orders", self._orders)
        route.add_post("/stock", self._stock)
        route.add_post("/eat", self._eat)
        route.add_get("/books/{platform}", self._books)
        route.add_get("/books/{platform}/{part}", self._books_part)
        route.add_get("/limits/{platform}", self._limits)
        route.add_put("/limits/{platform}", self._allow)
        route.add_get("/faults/{platform}", self._faults)
        route.add_put("/faults/{platform}", self._set_faults)
        route.add_get("/calls/{platform}", self._calls)
        route.add_get("/deliveries/{platform}", self._deliveries)
        route.add_post("/expire/{platform}", self._expire)
        route.add_post("/do/{platform}/{action}", self._act)

    async def _orders(self, request: web.Request) -> web.Response:
        """One purchase, or a list of them; the answer has the same form. A wrong one refuses all, before anything is sold."""
        body = await request.read()
        is_list = body.lstrip().startswith(b"[")
        wanted = (
            msgspec.json.decode(body, type=list[Purchase]) if is_list else [msgspec.json.decode(body, type=Purchase)]
        )
        if len(wanted) > PURCHASES_MAX:
            raise Refused(413, f"at most {PURCHASES_MAX} purchases at once")
        for purchase in wanted:
            self._check(purchase)
        sales = [self._buy(purchase) for purchase in wanted]
        return _json(sales if is_list else sales[0])

    def _check(self, purchase: Purchase) -> None:
        """Raise Refused for a platform where nobody buys, and for an article that it does not have."""
        place = self._place(purchase.platform)
        if self._apps[place.name][HANDLES].buy is None:
            raise Refused(409, f"nobody buys at {place.name!r}")
        for line in purchase.lines:
            if line.sku not in place.books.items:
                raise Refused(422, f"{place.name!r} has no article {line.sku!r}")

    def _buy(self, purchase: Purchase) -> Sale:
        place = self._place(purchase.platform)
        buy = self._apps[place.name][HANDLES].buy
        if buy is None:
            raise Refused(409, f"nobody buys at {place.name!r}")
        bought = self._bought[place.name]
        key = purchase.key or f"{place.name}-{len(bought) + 1}"
        if key in bought:
            return bought[key]
        result = buy(purchase, key)
        if isinstance(result, OutOfStock):
            result = Sale(sold=False, key=key, reason="out_of_stock", sku=result.sku)
        bought[key] = result
        return result

    async def _stock(self, request: web.Request) -> web.Response:
        setting = await _body(request, StockSetting)
        place = self._place(setting.platform)
        set_stock = self._apps[place.name][HANDLES].set_stock
        if set_stock is None:
            raise Refused(409, f"{place.name!r} keeps no stock")
        item = place.books.items.get(setting.sku)
        if item is None:
            raise Refused(422, f"{place.name!r} has no article {setting.sku!r}")
        if setting.location is not None and setting.location not in item.levels:
            raise Refused(422, f"{place.name!r} has no location {setting.location!r}")
        set_stock(setting.sku, setting.location, setting.quantity)
        return _json(item)

    async def _eat(self, request: web.Request) -> web.Response:
        eating = await _body(request, Eating)
        place = self._place(eating.platform)
        if not place.limits:
            raise Refused(409, f"{place.name!r} has no budget that another app could use")
        for limit in place.limits.values():
            limit.eat(eating.share, place.clock.monotonic())
        return _json({"platform": place.name, "share": eating.share})

    async def _books(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        details = self._apps[place.name][HANDLES].details
        summary = msgspec.to_builtins(summarise(place.books))
        return _json({**summary, "details": details() if details is not None else {}})

    async def _books_part(self, request: web.Request) -> web.Response:
        """One part in pages: `?after=` is the position that the last page named as `next`."""
        place, part = self._asked(request), request.match_info["part"]
        if part not in _LARGE:
            raise Refused(404, f"the books have {', '.join(sorted(_LARGE))}")
        after, limit = _number(request, "after", 0), min(_number(request, "limit", PAGE_MAX), PAGE_MAX)
        if part == "changes":
            page = [change for change in place.books.changes if change.number > after][:limit]
            return _json({"changes": page, "next": page[-1].number if page else after})
        held: Mapping[str, Any] = getattr(place.books, part)
        keys = list(held)[after : after + limit]
        following = after + len(keys) if after + len(keys) < len(held) else None
        return _json({part: {key: held[key] for key in keys}, "next": following})

    async def _limits(self, request: web.Request) -> web.Response:
        place, seconds = self._asked(request), _number(request, "seconds", 0)
        now = place.clock.monotonic()
        return _json({name: report(limit, now, seconds=seconds) for name, limit in place.limits.items()})

    async def _allow(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        allowance = await _body(request, Allowance)
        place.allow(allowance)
        return _json(allowance)

    async def _faults(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        return _json({"profile": place.faults.profile, "fired": place.faults.fired})

    async def _set_faults(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        setting = await _body(request, FaultSetting)
        if (revert := self._reverts.pop(place.name, None)) is not None:
            handle, before = revert
            handle.cancel()
        else:
            before = place.faults.profile
        place.faults.profile = setting.profile
        if setting.for_seconds is not None:

            def revert_now() -> None:
                place.faults.profile = before
                self._reverts.pop(place.name, None)

            handle = request.loop.call_later(setting.for_seconds, revert_now)
            self._reverts[place.name] = (handle, before)
        return _json({"profile": place.faults.profile, "fired": place.faults.fired})

    async def _calls(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        return _json(place.calls.report(last=_number(request, "last", 0), faults=place.faults.fired))

    async def _deliveries(self, request: web.Request) -> web.Response:
        place, last = self._asked(request), _number(request, "last", 0)
        log = list(place.sender.log)[-last:] if last else []
        return _json({"report": place.sender.report(), "last": log, "untold": sorted(place.sender.untold)})

    async def _expire(self, request: web.Request) -> web.Response:
        place = self._asked(request)
        expire = self._apps[place.name][HANDLES].expire_tokens
        if expire is None:
            raise Refused(409, f"the credentials of {place.name!r} do not expire")
        expire()
        return _json({"platform": place.name})

    async def _act(self, request: web.Request) -> web.Response:
        place, name = self._asked(request), request.match_info["action"]
        actions = self._apps[place.name][HANDLES].actions
        if name not in actions:
            raise Refused(404, f"{place.name!r} can {', '.join(sorted(actions)) or 'do nothing'}")
        try:
            return _json(actions[name](await _body(request, dict[str, Any])))
        except (KeyError, ValueError, TypeError) as error:
            raise Refused(422, f"{name}: {error}") from error

    def _asked(self, request: web.Request) -> Place:
        return self._place(request.match_info["platform"])

    def _place(self, name: str) -> Place:
        place = self._world.places.get(name)
        if place is None:
            raise Refused(404, f"there is no platform {name!r}; there are {', '.join(sorted(self._world.places))}")
        return place


@web.middleware
async def _refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer refusals as JSON; refuse what a page in a browser could send here."""
    if not is_loopback(request.url.host):
        return _json({"error": "this is the loopback only"}, status=421)
    if request.method != "GET" and request.content_type != "application/json":
        return _json({"error": "the body is application/json"}, status=415)
    try:
        return await handler(request)
    except Refused as refused:
        return _json({"error": str(refused)}, status=refused.status)
    except msgspec.DecodeError as error:
        return _json({"error": str(error)}, status=422)
    except BooksFull as full:
        return _json({"error": str(full)}, status=507)
    except web.HTTPException as error:
        return _json({"error": error.reason}, status=error.status)


async def _body(request: web.Request, kind: type[_Body]) -> _Body:
    return msgspec.json.decode(await request.read(), type=kind)


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refused(422, f"{name} is a number of at least 0")
    return int(text)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
