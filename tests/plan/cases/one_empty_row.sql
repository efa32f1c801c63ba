-- Of no rows, sums are NULL and counts are zero.
SELECT count(*) AS n, sum(amount) AS total, avg(amount) AS average, max(city) AS last, stddev(amount) AS spread,
       bool_or(returned) AS any, count(DISTINCT city) AS cities
FROM sales WHERE city = 'Genf'
-- postgres
SELECT count(*), sum(amount), avg(amount), max(city), stddev(amount), bool_or(returned), count(DISTINCT city)
FROM sales WHERE city = 'Genf'
-- expect
n bigint | total decimal(38,2) | average decimal(38,16) | last text | spread double | any boolean | cities bigint
0 | NULL | NULL | NULL | NULL | NULL | 0
