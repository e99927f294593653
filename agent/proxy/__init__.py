"""The fault proxy: links that carry bytes untouched until a toxic is put on them, and only as long.

Must not know runs, ledgers or experiments: a toxic has a lease, and without renewal it ends.
"""
