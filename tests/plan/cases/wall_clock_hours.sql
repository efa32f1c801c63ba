-- Hours of the wall clock: the hour the clock repeats is one.
SELECT date_trunc('hour', sold_at AT TIME ZONE 'Europe/Berlin') AS hour, count(*) AS n
FROM sales WHERE city = 'Chur' GROUP BY hour
-- postgres
SELECT date_trunc('hour', sold_at AT TIME ZONE 'Europe/Berlin'), count(*) FROM sales WHERE city = 'Chur' GROUP BY 1
-- expect
hour local_timestamp | n bigint
2026-10-25 02:00:00 | 2
2026-10-26 00:00:00 | 1
