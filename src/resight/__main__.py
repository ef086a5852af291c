"""``python -m resight`` is the ``resight`` command."""

from resight.cli import main

if __name__ == "__main__":
    main()
