"""`python -m physgrad` is the command `physgrad`."""

from physgrad.cli import main

if __name__ == "__main__":
    main()
