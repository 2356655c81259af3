"""Models that were made elsewhere: found out what they are, proven, and made into a
folder that a replica serves.

Everything here runs in step processes, for an upload is input from outside. What isn't
this room's (conversion, loading) is handed in by `volant.actions`.
"""
