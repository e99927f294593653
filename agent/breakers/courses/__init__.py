"""States of a breaker over a recording, and the brackets in which they change."""
