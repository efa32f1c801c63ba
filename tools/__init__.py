"""Tools of the repository itself; nothing of it is in the package."""
