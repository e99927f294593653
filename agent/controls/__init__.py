"""Chaos Toolkit controls: conveniences only, since Chaos Toolkit drops a broken one in silence."""
