"""The web page of physgrad: spaces side by side, and one step taken apart."""
