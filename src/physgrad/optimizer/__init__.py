"""The protocol that every method has, and which of its points are taken."""
