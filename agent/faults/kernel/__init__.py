"""What the kernel itself does to packets: which ones, and how each injection's rules end without anybody."""
