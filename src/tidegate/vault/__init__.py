"""Encryption: keys in three layers, sealed bodies of events and calls, encrypted credentials.

Called by the rooms above `store`; imports `store` and `kernel`. Nothing private is stored before it went through here.
"""
