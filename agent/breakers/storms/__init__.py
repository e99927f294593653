"""What a short trouble leaves behind, and at which load."""
