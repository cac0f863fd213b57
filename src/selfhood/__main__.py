"""``python -m selfhood``."""

from selfhood.cli.main import entry

if __name__ == "__main__":
    entry()
