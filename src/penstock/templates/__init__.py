"""Project folders that `init` and `demo` start from, as package data; `operate.templates` writes them."""
