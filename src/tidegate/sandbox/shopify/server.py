"""The server of a shop: versions, tokens, the cost bucket, and the execution of documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeGuard
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    StringValueNode,
    VariableNode,
    execute,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.limits import Bucket
from tidegate.sandbox.shopify.bulk import Bulks
from tidegate.sandbox.shopify.cost import QUERY_MAX, Costs
from tidegate.sandbox.shopify.errors import DOCUMENTATION, Refusal, refuse_long_lists, told, told_variable, user_error
from tidegate.sandbox.shopify.hooks import Hooks
from tidegate.sandbox.shopify.idempotency import KEY_CHARACTERS_MAX, LISTED, Keys
from tidegate.sandbox.shopify.mutations import Mutations
from tidegate.sandbox.shopify.root import Root
from tidegate.sandbox.shopify.schema import load_schema
from tidegate.sandbox.shopify.shop import Options, Shop, check_options
from tidegate.sandbox.shopify.tokens import Tokens
from tidegate.sandbox.shopify.versions import LATEST, served
from tidegate.sandbox.world import CALL, Handles, World, new_app, read_options

PLANS: Mapping[str, tuple[float, float]] = {
    "standard": (2_000.0, 100.0),
    "advanced": (4_000.0, 200.0),
    "plus": (20_000.0, 1_000.0),
    "enterprise": (40_000.0, 2_000.0),
}
"""Bucket and points per second. Source: Shopify, GraphQL Admin API rate limits, for the rates; the standard bucket as shown by
answers of shops (`maximumAvailable` 2000 at 100 a second), the others in proportion."""
DOCUMENTS_KEPT = 500
TOKENS_MAX = 20_000
"""Lexical tokens of a document."""


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Return the server of a shop."""
    return Server(world, name).app


class _Asked(msgspec.Struct, rename="camel"):
    """The body of a request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None


class _Document(msgspec.Struct):
    """A document that was parsed and validated."""

    document: Any
    operations: dict[str, Any]
    fragments: dict[str, Any]
    errors: list[dict[str, Any]]


class Server:
    """One shop behind HTTP."""

    def __init__(self, world: World, name: str) -> None:
        self.place = world.places[name]
        self.options = read_options(self.place, Options)
        check_options(self.options, PLANS)
        self._schema = load_schema(self.options.schema)
        self._documents: dict[str, _Document] = {}
        domain = f"{self.options.shop}.myshopify.com"
        self.hooks = Hooks(self.place, self.options.client_secret, domain, self._version)
        self.shop = Shop(self.place, self.options, lambda topic, thing: self.hooks.tell(self.shop, topic, thing))
        self.bulks = Bulks(
            self.place,
            self.options.bulk_seconds,
            self._run_bulk,
            self._version,
            lambda topic, body: self.hooks.tell(self.shop, topic, body),
        )
        self.tokens, self.keys = Tokens(self.place, self.options), Keys()
        self._root = Root(self.shop, self.hooks, self.bulks).fields()
        self._bulk_root = Root(self.shop, self.hooks, self.bulks, is_bulk=True).fields()
        self._mutations = Mutations(self.shop, self.hooks, self.bulks).fields()
        capacity, rate = PLANS[self.options.plan]
        self.bucket = Bucket(capacity, rate, now=self.place.clock.monotonic())
        self.place.limits["points"] = self.bucket
        self.app = new_app(
            Handles(
                refuse=self.refuse,
                buy=self.shop.buy,
                set_stock=self.shop.set_stock,
                expire_tokens=self.tokens.expire,
                actions={
                    "cancel": self._cancel,
                    "refund": self._refund,
                    "uninstall": self._uninstall,
                    "revoke": self._revoke,
                },
                details=self._details,
            )
        )
        self.app.router.add_post("/admin/api/{version}/graphql.json", self.graphql)
        self.app.router.add_post("/admin/oauth/access_token", self.access_token)
        self.app.router.add_get("/admin/oauth/authorize", self.authorize)
        self.app.router.add_get("/bulk/{name}", self.bulk_file)

    # --- HTTP ------------------------------------------------------------------------------------------------------------
    async def graphql(self, request: web.Request) -> web.StreamResponse:
        """Answer one document."""
        version = served(request.match_info["version"])
        if version is None:
            return web.json_response({"errors": "Not Found"}, status=404)
        headers = {"X-Shopify-API-Version": self.options.serves or version}
        if not self.tokens.is_good(request.headers.get("X-Shopify-Access-Token", "")):
            words = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return web.json_response({"errors": words}, status=401, headers=headers)
        self.bulks.settle()
        self.bulks.base_url = f"{request.scheme}://{request.host}"
        try:
            asked = msgspec.json.decode(await request.read(), type=_Asked)
        except msgspec.DecodeError:
            return web.json_response({"errors": {"query": "Required parameter missing or invalid"}}, status=400)
        keys: set[str] = set()
        answer = self._answer(request, asked, keys)
        if self.options.latency_seconds:
            self.keys.running |= keys
            try:
                await asyncio.sleep(self.options.latency_seconds)
            finally:
                self.keys.running -= keys
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers=headers)

    async def access_token(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a token, as a form or as JSON."""
        request[CALL].operation = "access_token"
        body = await request.read()
        try:
            is_json = request.content_type == "application/json"
            asked = msgspec.json.decode(body, type=dict[str, Any]) if is_json else dict(parse_qsl(body.decode()))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return web.json_response({"error": "invalid_request"}, status=400)
        status, answer = self.tokens.exchange(asked)
        return web.json_response(answer, status=status)

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Allow the app as a merchant does who says yes at once, and send the browser back."""
        request[CALL].operation = "authorize"
        back = self.tokens.allow(request.query, shop=f"{self.options.shop}.myshopify.com")
        if back is None:
            return web.Response(status=400, text="Oauth error invalid_request: the app or its redirect is not known")
        return web.Response(status=302, headers={"Location": back})

    async def bulk_file(self, request: web.Request) -> web.StreamResponse:
        """Give the result of a bulk operation to whoever knows its address."""
        request[CALL].operation = "bulk_file"
        digits = request.match_info["name"].removesuffix(".jsonl")
        one = self.bulks.find(int(digits)) if digits.isascii() and digits.isdigit() else None
        if one is None or one.status != "COMPLETED":
            return web.Response(status=404)
        return web.Response(body=one.result, content_type="application/jsonl")

    def refuse(self, fault: CallFault, request: web.Request) -> web.StreamResponse:
        """Say no as Shopify does."""
        if fault is CallFault.EXPIRED:
            words = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return web.json_response({"errors": words}, status=401)
        if fault is CallFault.THROTTLED:
            return web.json_response(self._throttled(10, available=0))
        match self.place.faults.choose("broken_form", request[CALL].number, 3):
            case 0:
                return web.json_response({"errors": "Internal Server Error"}, status=500)
            case 1:
                return web.Response(
                    text="<html><body>502 Bad Gateway</body></html>", status=502, content_type="text/html"
                )
            case _:
                error = {"message": "Internal error.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
                return web.json_response({"errors": [error]})

    # --- documents -------------------------------------------------------------------------------------------------------
    def _answer(self, request: web.Request, wanted: _Asked, keys: set[str]) -> dict[str, Any]:
        call, now = request[CALL], self.place.clock.monotonic()
        variables, name = wanted.variables or {}, wanted.operation_name
        document = self._document(wanted.query)
        if document.errors:
            return {"errors": document.errors}
        operation = document.operations.get(name or "") or (
            next(iter(document.operations.values())) if name is None and len(document.operations) == 1 else None
        )
        if operation is None:
            return {"errors": [told(Refusal("An operation name is required", "BAD_REQUEST"))]}
        call.operation = "+".join(
            one.name.value
            for one in operation.selection_set.selections
            if hasattr(one, "name") and one.name is not None
        )[:200]
        values = get_variable_values(self._schema, operation.variable_definitions or (), variables, max_errors=10)
        if isinstance(values, list):
            return {"errors": [told_variable(error) for error in values]}
        coerced = values.coerced
        costs = Costs(self._schema, document.fragments, coerced)
        try:
            asked = costs.asked(operation)
        except Refusal as refusal:
            return {"errors": [told(refusal)]}
        call.cost = float(asked)
        if asked > QUERY_MAX:
            words = f"Query cost is {asked}, which exceeds the single query max cost limit ({QUERY_MAX})."
            more = {"cost": asked, "maxCost": QUERY_MAX, "documentation": DOCUMENTATION}
            return {"errors": [told(Refusal(words, "MAX_COST_EXCEEDED", **more))]}
        if self.bucket.take(float(asked), now):
            call.is_throttled = True
            return self._throttled(asked)
        result = self._execute(document.document, operation, variables, self._root, keys)
        actual = costs.actual(operation, result.data)
        if asked > actual:
            self.bucket.give_back(float(asked - actual), now)
        call.items = _items(coerced)
        call.key = next(iter(sorted(keys)), "")
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [told(error) for error in result.errors]
        answer["extensions"] = {"cost": self._cost(asked, actual)}
        return answer

    def _document(self, query: str) -> _Document:
        known = self._documents.get(query)
        if known is not None:
            return known
        try:
            document = parse(query, max_tokens=TOKENS_MAX)
            errors = [told(error) for error in validate(self._schema, document)]
        except GraphQLError as error:
            return _Document(None, {}, {}, [told(error)])
        except RecursionError:
            return _Document(None, {}, {}, [told(Refusal("The query is nested too deeply", "BAD_REQUEST"))])
        made = _Document(
            document,
            {
                one.name.value if one.name else "": one
                for one in document.definitions
                if isinstance(one, OperationDefinitionNode)
            },
            {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)},
            errors,
        )
        if len(self._documents) >= DOCUMENTS_KEPT:
            self._documents.pop(next(iter(self._documents)))
        self._documents[query] = made
        return made

    def _execute(
        self,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: dict[str, Any],
        root: Mapping[str, Any],
        keys: set[str],
    ) -> ExecutionResult:
        def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            if info.parent_type.name == "Mutation":
                return self._mutate(info, arguments, keys)
            if info.field_name not in source:
                words = f"the sandbox does not keep {info.parent_type.name}.{info.field_name}"
                raise Refusal(words, "SANDBOX_UNSUPPORTED")
            value = source[info.field_name]
            return value(**arguments) if callable(value) else value

        result = execute(
            self._schema,
            document,
            root_value=root,
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
            field_resolver=resolve,
            type_resolver=lambda value, *_: value["__typename"],
            is_awaitable=_never,
        )
        if not isinstance(result, ExecutionResult):
            raise TypeError("a document was not executed at once")
        return result

    def _mutate(self, info: GraphQLResolveInfo[Any], arguments: dict[str, Any], keys: set[str]) -> dict[str, Any]:
        """Run one mutation, under its key where it has one."""
        name = info.field_name
        mutation = self._mutations.get(name)
        if mutation is None:
            raise Refusal(f"the sandbox does not have the mutation {name}", "SANDBOX_UNSUPPORTED")
        key = _idempotency_key(info)
        if key is None and name in LISTED:
            words = "The @idempotent directive is required for this mutation but was not provided."
            raise Refusal(words, "BAD_REQUEST")
        if key is not None and not 0 < len(key) <= KEY_CHARACTERS_MAX:
            raise Refusal("The idempotency key is not valid.", "BAD_REQUEST")
        refuse_long_lists(arguments)
        if key is None:
            return mutation(**arguments)
        kept = self.keys.begin(key, name, arguments)
        if isinstance(kept, str):
            return self._refused_key(info, kept)
        keys.add(key)
        if kept.payload is not None:
            return kept.payload
        try:
            kept.payload = mutation(**arguments)
        except GraphQLError:
            kept.has_failed = True
            raise
        kept.has_failed = any(kept.payload.get(field) for field in kept.payload if field.endswith(("serErrors",)))
        return kept.payload

    def _refused_key(self, info: GraphQLResolveInfo[Any], code: str) -> dict[str, Any]:
        """Say why a key cannot be used: as a user error where its type has this code, else as an error of the document."""
        words = {
            "IDEMPOTENCY_CONCURRENT_REQUEST": "This request is currently in progress, please try again.",
            "IDEMPOTENCY_KEY_PARAMETER_MISMATCH": (
                "The same idempotency key cannot be used with different operation parameters."
            ),
        }.get(code, "A previous request with this idempotency key failed. Retry with a new idempotency key.")
        codes = self._schema.type_map.get(f"{info.field_name[0].upper()}{info.field_name[1:]}UserErrorCode")
        if codes is None or code not in getattr(codes, "values", {}):
            raise Refusal(words, code)
        payload = info.schema.type_map[f"{info.field_name[0].upper()}{info.field_name[1:]}Payload"]
        return {**dict.fromkeys(getattr(payload, "fields", {})), "userErrors": [user_error(words, code=code)]}

    def _run_bulk(self, query: str) -> Mapping[str, Any]:
        """Execute a query over everything. Raises GraphQLError."""
        document = self._document(query)
        if document.errors:
            raise GraphQLError(str(document.errors[0]["message"]))
        operation = next(iter(document.operations.values()))
        result = self._execute(document.document, operation, {}, self._bulk_root, set())
        if result.errors:
            raise result.errors[0]
        return result.data or {}

    def _cost(self, asked: int, actual: int | None, *, available: float | None = None) -> dict[str, Any]:
        level = self.bucket.level(self.place.clock.monotonic()) if available is None else available
        return {
            "requestedQueryCost": asked,
            "actualQueryCost": actual,
            "throttleStatus": {
                "maximumAvailable": self.bucket.capacity,
                "currentlyAvailable": int(level),
                "restoreRate": self.bucket.per_second,
            },
        }

    def _throttled(self, asked: int, *, available: float | None = None) -> dict[str, Any]:
        error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": DOCUMENTATION}}
        return {"errors": [error], "extensions": {"cost": self._cost(asked, None, available=available)}}

    def _version(self) -> str:
        return self.options.serves or LATEST

    # --- the control API ---------------------------------------------------------------------------------------------------
    def _cancel(self, asked: Mapping[str, Any]) -> Any:
        """A merchant cancels in the shop's admin."""
        order = self.shop.orders[int(asked["order"])]
        if order.cancelled_at is not None or any(line.line.shipped for line in order.lines):
            raise ValueError("the order is cancelled already, or shipped")
        self.shop.cancel(order, str(asked.get("reason", "CUSTOMER")), restock=bool(asked.get("restock", True)))
        return {"cancelled": str(order.id)}

    def _refund(self, asked: Mapping[str, Any]) -> Any:
        """A merchant refunds an amount in the shop's admin."""
        order = self.shop.orders[int(asked["order"])]
        paid = next((one for one in order.transactions if one.kind in ("SALE", "CAPTURE")), None)
        amount = int(asked["amount_minor"])
        if paid is None or not 0 < amount <= order.received_minor - order.moved("REFUND"):
            raise ValueError("there is not so much to refund")
        return {"refund": str(self.shop.refund(order, [], [(paid, amount)], asked.get("note")).id)}

    def _uninstall(self, _: Mapping[str, Any]) -> Any:
        """The merchant removes the app: its tokens die, and so do its subscriptions, once that was told."""
        self.tokens.expire()
        self.hooks.tell(self.shop, "app/uninstalled", {"id": 1, "domain": f"{self.options.shop}.myshopify.com"})
        return {"uninstalled": self.options.shop}

    def _revoke(self, _: Mapping[str, Any]) -> Any:
        """The app loses its tokens, refresh tokens too: somebody must allow it anew."""
        self.tokens.revoke()
        return {"revoked": self.options.shop}

    def _details(self) -> Any:
        return {
            "subscriptions": [{"topic": one.topic, "uri": one.uri} for one in self.hooks.subscriptions.values()],
            "deleted_subscriptions": len(self.hooks.deleted_after_failures),
            "replayed_keys": self.keys.replayed,
        }


def _never(value: Any) -> TypeGuard[Awaitable[Any]]:  # noqa: ARG001
    """Tell that nothing here waits."""
    return False


def _idempotency_key(info: GraphQLResolveInfo[Any]) -> str | None:
    """Return the key of a field's `@idempotent`, None without one."""
    for directive in info.field_nodes[0].directives or ():
        if directive.name.value != "idempotent":
            continue
        value = (directive.arguments or ())[0].value
        if isinstance(value, VariableNode):
            return str(info.variable_values.coerced.get(value.name.value))
        if isinstance(value, StringValueNode):
            return value.value
    return None


def _items(variables: Mapping[str, Any]) -> int:
    """Return the length of the longest list in the variables: how much a call does at once."""
    lists = [inner for value in variables.values() if isinstance(value, dict) for inner in value.values()]
    return max((len(one) for one in [*lists, *variables.values()] if isinstance(one, list)), default=0)
