-- Constants beside a key.
SELECT city, 'x' AS text, 1 AS one, 1.50 AS dec, DATE '2026-01-01' AS day, true AS yes, CAST(NULL AS INTEGER) AS nothing FROM sales GROUP BY city
-- postgres
SELECT DISTINCT city, 'x', 1, 1.50, DATE '2026-01-01', true, NULL::integer FROM sales
-- expect
city text | text text | one integer | dec decimal(3,2) | day date | yes boolean | nothing integer
Basel | x | 1 | 1.50 | 2026-01-01 | true | NULL
Bern | x | 1 | 1.50 | 2026-01-01 | true | NULL
Chur | x | 1 | 1.50 | 2026-01-01 | true | NULL
Züri | x | 1 | 1.50 | 2026-01-01 | true | NULL
