"""Other people's interfaces, so that their users change an import line and keep the rest."""
