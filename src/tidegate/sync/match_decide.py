"""Whether decisions about articles can be carried out, pure. Everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from tidegate.sync.match_file import Decision, Fault


class Article(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an article of a connection."""

    sku: str
    variant_id: UUID | None
    """What it is bound to now."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions are checked against."""

    connections: Mapping[str, UUID]
    articles: Mapping[tuple[str, str], Article]
    """(connection, external id) -> article: the open ones and the bound ones that the decisions name."""
    variants: Mapping[str, UUID]
    """SKU -> variant, of the SKUs that the decisions name and those of the named articles."""
    bound: Mapping[tuple[str, UUID], str]
    """(connection, variant) -> the article that it is bound to there."""
    elsewhere: frozenset[UUID] = frozenset()
    """Variants that some connection has bound."""
    similar: Mapping[str, tuple[str, ...]] = {}
    """SKU that nobody has -> SKUs that look like it."""
    settled: Mapping[tuple[str, str], str | None] = {}
    """Articles that people decided about -> SKU that they are bound to, None for ignored."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do."""

    connection: str
    external_id: str
    sku: str
    """Of the article."""
    verb: str
    """bind, new or ignore."""
    old: UUID | None
    """What it is bound to before."""
    variant_id: UUID | None = None
    """bind: what it is bound to afterwards. new: the variant of its SKU that nobody has bound, None: one is made."""
    target: str = ""
    """SKU of ours afterwards."""


def decide_matches(decisions: Sequence[Decision], known: Known) -> tuple[list[Step], list[Fault]]:
    """Return what is to be done, and every cell that forbids it. What is done already is no step."""
    steps: list[Step] = []
    faults: list[Fault] = []
    released = {
        (one.connection, article.variant_id)
        for one in decisions
        if (article := known.articles.get((one.connection, one.external_id))) and article.variant_id is not None
        and _moves(one, article, known)
    }  # fmt: skip
    claimed: dict[tuple[str, str], int] = {}
    for decision in decisions:
        step = _step(decision, known, released)
        if isinstance(step, Fault):
            faults.append(step)
        elif step is not None:
            key = (step.connection, step.target)
            if step.target and (line := claimed.setdefault(key, decision.line)) != decision.line:
                message = f"row {line} gives {step.target!r} to another article of {step.connection}"
                faults.append(Fault(line=decision.line, column="decision", message=message))
                continue
            steps.append(step)
    return steps, faults


def _moves(decision: Decision, article: Article, known: Known) -> bool:
    return decision.verb != "bind" or known.variants.get(decision.sku) != article.variant_id


def _step(decision: Decision, known: Known, released: set[tuple[str, UUID]]) -> Step | Fault | None:
    def fault(column: str, message: str) -> Fault:
        return Fault(line=decision.line, column=column, message=message)

    if decision.connection not in known.connections:
        names = ", ".join(sorted(known.connections)) or "none"
        return fault("connection", f"there is no connection {decision.connection[:60]!r}; there are: {names}")
    key = (decision.connection, decision.external_id)
    article = known.articles.get(key)
    if article is None:
        hint = "a spreadsheet may have changed the number; `tidegate matches export` writes the file anew"
        return fault("external_id", f"{decision.external_id[:60]!r} is no article of {decision.connection}; {hint}")
    step = Step(
        connection=decision.connection,
        external_id=decision.external_id,
        sku=article.sku,
        verb=decision.verb,
        old=article.variant_id,
    )
    if decision.verb == "ignore":
        if article.variant_id is None and known.settled.get(key, "") is None:
            return None
        return step
    if decision.verb == "new":
        return _new(decision, known, article, step)
    variant_id = known.variants.get(decision.sku)
    if variant_id is None:
        similar = known.similar.get(decision.sku, ())
        hint = f"; there are: {', '.join(similar)}" if similar else ""
        return fault("decision", f"no article of ours has the SKU {decision.sku[:60]!r}{hint}")
    if variant_id == article.variant_id:
        return None
    holder = known.bound.get((decision.connection, variant_id))
    if holder is not None and (decision.connection, variant_id) not in released:
        return fault("decision", f"{decision.sku!r} is bound to article {holder} of {decision.connection} already")
    return msgspec.structs.replace(step, variant_id=variant_id, target=decision.sku)


def _new(decision: Decision, known: Known, article: Article, step: Step) -> Step | Fault | None:
    sku = article.sku.strip()
    if not sku:
        message = "the article has no SKU to make one from; give it one there, or write bind:SKU"
        return Fault(line=decision.line, column="decision", message=message)
    variant_id = known.variants.get(sku)
    if variant_id is not None and variant_id == article.variant_id:
        return None
    if variant_id is not None and variant_id in known.elsewhere:
        message = f"there is an article with the SKU {sku!r}; write bind:{sku} if it is the same"
        return Fault(line=decision.line, column="decision", message=message)
    return msgspec.structs.replace(step, variant_id=variant_id, target=sku)
