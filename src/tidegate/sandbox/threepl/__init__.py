"""Systems that speak signed events and nothing else: a 3PL that ships, and a till that sells. Standard Webhooks both ways.

`build` makes the server of a 3PL, `build_till` that of a till; they differ in what they do by themselves.
"""

from tidegate.sandbox.threepl.server import build as build
from tidegate.sandbox.threepl.server import build_till as build_till
