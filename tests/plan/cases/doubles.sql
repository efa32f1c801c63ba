-- A double becomes the shortest decimal that prints it, then sums are exact.
SELECT city, sum(CAST(weight AS DECIMAL(18,3))) AS weight, max(weight) AS heaviest, CAST(max(weight) * 1.1 AS DECIMAL(10,2)) AS m
FROM sales GROUP BY city
-- postgres
SELECT city, sum(CAST(weight AS numeric(18,3))), max(weight), CAST(max(weight) * 1.1 AS numeric(10,2))
FROM sales GROUP BY city
-- expect
city text | weight decimal(38,3) | heaviest double | m decimal(10,2)
Basel | 8.501 | 3.0 | 3.30
Bern | 1.750 | 1.25 | 1.38
Chur | 8.000 | 4.0 | 4.40
Züri | 0.300 | 0.2 | 0.22
