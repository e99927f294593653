"""What was found out about a circuit breaker: as a part of the page, of the memo and of the test suite.

An answer (docs/breakers.md) may come from a file that anybody wrote.  It is read once, in ``read``, into
records whose fields are what they say they are; everything else here works on those.
"""
