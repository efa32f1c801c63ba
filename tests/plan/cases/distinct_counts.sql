-- Pairs with a NULL count in a tuple, and are left out of count(DISTINCT a, b).
SELECT city, count(DISTINCT (seller, channel)) AS pairs, count(DISTINCT seller, channel) AS full_pairs,
       count(DISTINCT CAST(sold_at AS DATE)) AS days, count(DISTINCT pieces) AS sizes
FROM sales GROUP BY city
-- postgres
SELECT city, count(DISTINCT (seller, channel)),
       count(DISTINCT (seller, channel)) FILTER (WHERE seller IS NOT NULL AND channel IS NOT NULL),
       count(DISTINCT CAST(sold_at AS date)), count(DISTINCT pieces)
FROM sales GROUP BY city
-- expect
city text | pairs bigint | full_pairs bigint | days bigint | sizes bigint
Basel | 3 | 2 | 2 | 2
Bern | 2 | 2 | 2 | 3
Chur | 3 | 3 | 1 | 2
Züri | 2 | 2 | 1 | 2
