"""Mapping: how a payload is shaped for the system that it goes to, by declaration and by hooks of the author's own.

Called by the configuration (checks), by dispatch (shaping before T2s) and by `tidegate map`; may import `sdk`, `commerce`
and `kernel`. Everything here is pure and bounded, but for `hook_host`, which talks to the process that runs hooks.
"""
