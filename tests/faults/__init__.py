"""Bad input and faults, each with a test: what is said of it, what goes on, and that no row is lost in silence."""
