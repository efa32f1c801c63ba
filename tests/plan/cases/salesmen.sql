-- The second sales table: ranks by day, the name of the latest sale, an exact average.
SELECT CAST(sold_at AS DATE) AS date, seller, arg_max(city, (sold_at, sale_id)) AS name,
       CAST(sum(amount) AS DECIMAL(15,2)) AS total, count(*) AS n, CAST(avg(amount) AS DECIMAL(15,2)) AS avg,
       count(DISTINCT city) AS cities, rank() OVER (PARTITION BY date ORDER BY total DESC) AS rank
FROM sales
GROUP BY date, seller
QUALIFY rank <= 2
-- postgres
SELECT date, seller, name, total, n, avg, cities, rank FROM (
  SELECT *, rank() OVER (PARTITION BY date ORDER BY total DESC) AS rank FROM (
    SELECT CAST(sold_at AS date) AS date, seller, (array_agg(city ORDER BY sold_at DESC, sale_id DESC))[1] AS name,
           CAST(sum(amount) AS numeric(15,2)) AS total, count(*) AS n, CAST(avg(amount) AS numeric(15,2)) AS avg,
           count(DISTINCT city) AS cities
    FROM sales GROUP BY 1, 2) g) r
WHERE rank <= 2
-- expect
date date | seller text | name text | total decimal(15,2) | n bigint | avg decimal(15,2) | cities bigint | rank bigint
2026-01-23 | ann | Bern | 2.01 | 2 | 1.01 | 1 | 1
2026-01-24 | bob | Basel | 30.00 | 2 | 15.00 | 2 | 1
2026-01-24 | cid | Basel | 0.05 | 1 | 0.05 | 1 | 2
2026-03-29 | ann | Basel | 300.00 | 2 | 150.00 | 1 | 1
2026-10-25 | dan | Chur | 16.65 | 2 | 8.33 | 1 | 1
2026-10-25 | eve | Chur | 9.99 | 1 | 9.99 | 1 | 2
2026-12-31 | eve | Züri | 0.01 | 1 | 0.01 | 1 | 2
2026-12-31 | fay | Züri | 0.02 | 1 | 0.02 | 1 | 1
