"""What runs the SQL. `duckdb` keeps state in a folder of its own; every engine passes the same suites."""
