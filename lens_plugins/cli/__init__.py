"""The command line: one module for each command; a command parses, calls one public function and prints."""

__all__: list[str] = []
