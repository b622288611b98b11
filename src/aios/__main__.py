"""`python -m aios` is the `aios` command."""

from aios.cli.main import main

if __name__ == "__main__":
    main()
