-- The first sales table.
SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
       count(*) AS transaction_count, CAST(avg(amount) AS DECIMAL(15,2)) AS avg_sale,
       CAST(max(amount) AS DECIMAL(15,2)) AS max_sale
FROM sales GROUP BY 1, 2
-- postgres
SELECT CAST(sold_at AS date), city, CAST(sum(amount) AS numeric(15,2)), count(*), CAST(avg(amount) AS numeric(15,2)),
       CAST(max(amount) AS numeric(15,2))
FROM sales GROUP BY 1, 2
-- expect
date date | city text | total_sales decimal(15,2) | transaction_count bigint | avg_sale decimal(15,2) | max_sale decimal(15,2)
2026-01-23 | Bern | 2.01 | 2 | 1.01 | 1.01
2026-01-24 | Basel | 20.05 | 2 | 10.03 | 20.00
2026-01-24 | Bern | 10.00 | 1 | 10.00 | 10.00
2026-03-29 | Basel | 300.00 | 2 | 150.00 | 200.00
2026-10-25 | Chur | 26.64 | 3 | 8.88 | 9.99
2026-12-31 | Züri | 0.03 | 2 | 0.02 | 0.02
