"""Pages for people, made on the server: read models in, HTML out; forms in, the operator's functions called.

Everything works without JavaScript. One module of ours adds what a page cannot do by itself: fragments that are swapped
when they change, and a few keys. What other systems sent is shown as text, and of customers nothing is shown.
"""
