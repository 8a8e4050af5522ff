"""``python -m lens_plugins`` is ``lens-plugins``."""

from .cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
