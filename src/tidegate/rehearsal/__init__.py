"""The rehearsal: a peak day, played through a user's own configuration against simulated platforms, and what it showed.

Called by the command line. It starts a whole installation in a temporary folder and reads its database; platforms it
knows only as processes that answer HTTP. Pure: profile, plan, adapt, verdict, visible, advice, page. I/O: the rest.
"""
