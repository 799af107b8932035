"""Words that may be shown of what other systems say. An allow-list: a word that is not here is shown as `…`. Pure.

Nothing here is a name of a person or a place, and only words written small count, so that a name that happens to be one of
these words ("Price") does not show either.
"""

from __future__ import annotations

import re

ELLIPSIS = "…"
SHAPE_WORDS_MAX = 24

_WORDS = frozenset(
    (  # noqa: SIM905 - a list of hundreds of quoted words reads worse
        "a about above absent accept accepted access account active add added address addresses after again all allowed already also amount an "
        "and another answer answers any api are argument arguments array article articles as ask asks at attempt attribute "
        "authentication authorised authorized available bad balance barcode batch be because been before begin being below "
        "between bill blank blocked body boolean both bound bulk but by bytes call calls can cancel cancelled cannot carrier "
        "cart catalogue certificate change changed channel characters check choose claim client closed code codes column "
        "combination command committed company complete configuration conflict connection constraint contain contains content "
        "context corresponding could count create created credential currency current data date day days deadline decimal "
        "default delete deleted deliver delivered delivery did differs digits disabled discount do document does done draft "
        "duplicate duplicated during each edit edited either empty enabled end ended enough entity entry enum error errors "
        "event events exceed exceeded exceeds exist existing exists expected expired external failed failure fetch field "
        "fields fill find first fix fixed float for forbidden form format found from fulfilled fulfillment get give given "
        "goods got greater group had handler has have header hidden higher hint hold holds host hour hours id identifier if "
        "ignored in inactive incomplete index inside instead insufficient int integer internal into invalid inventory invoice "
        "is it item items its json key keys kind know known large last later least left length less level limit line lines "
        "list local location locked log long longer lost low lower made make many mapper match matches maximum may message "
        "method minimum missing mode model module more most move moved movement much must name named names needed needs "
        "negative never new next no nobody none not nothing null number numbers object occurred of off older on once one only "
        "open operation option or order ordered orders other our out outside over own page paid parameter parent part party "
        "password path payload payment payments pending per permission permissions permitted place placed plan please plugin "
        "position positive possible present price prices process processed processing product products provided public "
        "quantities quantity query queue quotation quote range rate reach reached read readable ready reason received record "
        "records refers refund refunded refused reference related relation released remaining removed request required "
        "requires reserved resource response result returned right row rule rules safe said sale sales same say says schema "
        "scope scopes second seconds secret see send sender sent server service session set settled shall shipment shipped "
        "shipping shop short should shows side since size sku slow some source specified stale state status step stock stop "
        "string subject such sum supported system table target tax tell temporarily than that the their them then there these "
        "they this those time timeout timestamp to token too topic total tracking transition true tried try two type unable "
        "unavailable undefined unexpected unique unit units unknown unpaid unprocessable until up update updated url use used "
        "user valid validation value values variant variants version wait was way web webhook well were what when where which "
        "while who whole will with within without word work would write written wrong year you your zero "
        # fields of the shapes that we send and read
        "adjusted after billing buyer city contact country customer detail email erp fulfilled gross hand label minor net note "
        "outcome phone placed postal private recipient region shift street title unfulfilled warehouse weight extensions str dict bytes utf bool"
    ).split()
)
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_", re.UNICODE)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|«[^»]*»|“[^”]*”|\u2018[^\u2019]*\u2019")
_KEY_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def shape_of(reason: str | None) -> str:
    """Return the words of a reason that may be shown, in order; everything else, together, is one `…`.

    Equal causes give equal shapes: names, numbers and quoted texts are what differs between two failures of one cause.
    """
    shape: list[str] = []
    for token in _TOKEN.findall(_QUOTED.sub(" 0 ", (reason or "")[:500])):
        if len(shape) >= SHAPE_WORDS_MAX:
            break
        word = token if token in _WORDS else token.lower() if not shape and token.lower() in _WORDS else ELLIPSIS
        if word is ELLIPSIS and not token.isalnum() and token != ELLIPSIS:
            continue  # punctuation tells nothing
        if word is not ELLIPSIS or not shape or shape[-1] is not ELLIPSIS:
            shape.append(word)
    return " ".join(shape)


def words_of_key(key: str) -> list[str] | None:
    """Return the words of a field's name (`orderLineId`: order, line, id); None when one of them may not be shown."""
    if len(key) > 60 or not key.isascii():
        return None
    parts = [part.lower() for part in _KEY_PARTS.findall(key)]
    if not parts or sum(map(len, parts)) + key.count("_") + key.count("-") + key.count(".") < len(key):
        return None
    return parts if all(part in _WORDS or (part.isdigit() and len(part) == 1) for part in parts) else None
