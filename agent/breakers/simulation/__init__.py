"""Services whose truth is known: what the inference is measured on."""
