"""Each claim of speed as a script that runs us and the peer side by side."""
