"""PostgreSQL: schema and migrations, the private server, positions, tokens, applying changes."""
