-- NULLs go last in both directions where nothing is said.
SELECT sale_id, pieces, rank() OVER (ORDER BY pieces) AS up, rank() OVER (ORDER BY pieces DESC) AS down,
       rank() OVER (ORDER BY pieces DESC NULLS FIRST) AS first
FROM sales
-- postgres
SELECT sale_id, pieces, rank() OVER (ORDER BY pieces NULLS LAST), rank() OVER (ORDER BY pieces DESC NULLS LAST),
       rank() OVER (ORDER BY pieces DESC NULLS FIRST)
FROM sales
-- expect
sale_id text | pieces integer | up bigint | down bigint | first bigint
a1 | 1 | 2 | 7 | 8
a2 | 2 | 6 | 6 | 7
a3 | 3 | 7 | 5 | 6
a4 | NULL | 12 | 12 | 1
a5 | 7 | 11 | 1 | 2
b1 | 1 | 2 | 7 | 8
b2 | 1 | 2 | 7 | 8
c1 | 4 | 8 | 3 | 4
c2 | 4 | 8 | 3 | 4
c3 | 5 | 10 | 2 | 3
d1 | 1 | 2 | 7 | 8
d2 | 0 | 1 | 11 | 12
