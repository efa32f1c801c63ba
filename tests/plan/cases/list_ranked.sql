-- Window functions over a list.
SELECT sale_id, city, amount, rank() OVER w AS place, sum(amount) OVER (PARTITION BY city) AS whole,
       CAST(100 * amount / sum(amount) OVER (PARTITION BY city) AS DECIMAL(5,2)) AS percent
FROM sales
WINDOW w AS (PARTITION BY city ORDER BY amount DESC)
QUALIFY place <= 2
-- postgres
SELECT * FROM (
  SELECT sale_id, city, amount, rank() OVER (PARTITION BY city ORDER BY amount DESC) AS place,
         sum(amount) OVER (PARTITION BY city) AS whole,
         CAST(100 * amount / sum(amount) OVER (PARTITION BY city) AS numeric(5,2)) AS percent
  FROM sales) x
WHERE place <= 2
-- expect
sale_id text | city text | amount decimal(12,2) | place bigint | whole decimal(38,2) | percent decimal(5,2)
a2 | Bern | 1.01 | 2 | 12.01 | 8.41
a3 | Bern | 10.00 | 1 | 12.01 | 83.26
b1 | Basel | 100.00 | 2 | 320.05 | 31.25
b2 | Basel | 200.00 | 1 | 320.05 | 62.49
c2 | Chur | 8.88 | 2 | 26.64 | 33.33
c3 | Chur | 9.99 | 1 | 26.64 | 37.50
d1 | Züri | 0.01 | 2 | 0.03 | 33.33
d2 | Züri | 0.02 | 1 | 0.03 | 66.67
