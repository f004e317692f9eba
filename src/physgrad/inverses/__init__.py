"""Rules: how a point in z is pulled back to x, one file each."""
