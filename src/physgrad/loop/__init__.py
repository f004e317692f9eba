"""The loop: `iterate` (pure) and `minimize` (the host side)."""
