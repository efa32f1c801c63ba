-- Hours of instants: the hour the clock repeats is two.
-- timezone: Europe/Berlin
SELECT date_trunc('hour', sold_at) AS hour, count(*) AS n, sum(amount) AS total
FROM sales WHERE city = 'Chur' GROUP BY hour
-- postgres
SELECT date_trunc('hour', sold_at), count(*), sum(amount) FROM sales WHERE city = 'Chur' GROUP BY 1
-- expect
hour timestamp | n bigint | total decimal(38,2)
2026-10-25 00:00:00.000000+00 | 1 | 7.77
2026-10-25 01:00:00.000000+00 | 1 | 8.88
2026-10-25 23:00:00.000000+00 | 1 | 9.99
