-- CTEs and subqueries that come down to one level.
WITH big AS (SELECT *, CAST(sold_at AS DATE) AS day FROM sales WHERE amount > 0.5),
     daily AS (SELECT day, b.city, sum(amount) AS total FROM big AS b GROUP BY day, b.city)
SELECT city, day, total, dense_rank() OVER (PARTITION BY day ORDER BY total DESC) AS place
FROM (SELECT * FROM daily WHERE total < 1000) AS d
WHERE d.total > 1
-- postgres
WITH big AS (SELECT *, CAST(sold_at AS DATE) AS day FROM sales WHERE amount > 0.5),
     daily AS (SELECT day, b.city, sum(amount) AS total FROM big AS b GROUP BY day, b.city)
SELECT city, day, total, dense_rank() OVER (PARTITION BY day ORDER BY total DESC) AS place
FROM (SELECT * FROM daily WHERE total < 1000) AS d
WHERE d.total > 1
-- expect
city text | day date | total decimal(38,2) | place bigint
Basel | 2026-01-24 | 20.00 | 1
Basel | 2026-03-29 | 300.00 | 1
Bern | 2026-01-23 | 2.01 | 1
Bern | 2026-01-24 | 10.00 | 2
Chur | 2026-10-25 | 26.64 | 1
