-- Windows of a day and more start where the zone says.
-- timezone: Europe/Berlin
SELECT date_trunc('day', sold_at) AS day, date_trunc('week', sold_at) AS week, date_trunc('month', sold_at) AS month,
       date_trunc('quarter', sold_at) AS quarter, date_trunc('year', sold_at) AS year, count(*) AS n
FROM sales GROUP BY ALL
-- postgres
SELECT date_trunc('day', sold_at), date_trunc('week', sold_at), date_trunc('month', sold_at),
       date_trunc('quarter', sold_at), date_trunc('year', sold_at), count(*)
FROM sales GROUP BY 1, 2, 3, 4, 5
-- expect
day timestamp | week timestamp | month timestamp | quarter timestamp | year timestamp | n bigint
2026-01-22 23:00:00.000000+00 | 2026-01-18 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 1
2026-01-23 23:00:00.000000+00 | 2026-01-18 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 4
2026-03-28 23:00:00.000000+00 | 2026-03-22 23:00:00.000000+00 | 2026-02-28 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2
2026-10-24 22:00:00.000000+00 | 2026-10-18 22:00:00.000000+00 | 2026-09-30 22:00:00.000000+00 | 2026-09-30 22:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 2
2026-10-25 23:00:00.000000+00 | 2026-10-25 23:00:00.000000+00 | 2026-09-30 22:00:00.000000+00 | 2026-09-30 22:00:00.000000+00 | 2025-12-31 23:00:00.000000+00 | 1
2026-12-31 23:00:00.000000+00 | 2026-12-27 23:00:00.000000+00 | 2026-12-31 23:00:00.000000+00 | 2026-12-31 23:00:00.000000+00 | 2026-12-31 23:00:00.000000+00 | 2
