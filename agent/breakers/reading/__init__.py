"""From what was recorded to what was decided about each call: whose a request is, and which are nobody's."""
