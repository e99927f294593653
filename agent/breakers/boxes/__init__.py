"""The black box beside the white one: what is seen from outside, and what a breaker says about itself."""
