-- Windows ordered and partitioned by quotients.
SELECT city, rank() OVER (ORDER BY avg(amount) DESC) AS dearest, rank() OVER (ORDER BY sum(amount) / sum(pieces)) AS cheapest,
       count(*) OVER (PARTITION BY floor(avg(amount) / 100)) AS alike
FROM sales GROUP BY city
-- postgres
SELECT city, rank() OVER (ORDER BY avg(amount) DESC), rank() OVER (ORDER BY sum(amount) / sum(pieces)),
       count(*) OVER (PARTITION BY floor(avg(amount) / 100))
FROM sales GROUP BY city
-- expect
city text | dearest bigint | cheapest bigint | alike bigint
Basel | 1 | 4 | 4
Bern | 3 | 2 | 4
Chur | 2 | 3 | 4
Züri | 4 | 1 | 4
