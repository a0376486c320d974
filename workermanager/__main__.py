"""``python -m workermanager``."""

from workermanager.cli import main

if __name__ == "__main__":
    main()
