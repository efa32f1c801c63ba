-- Texts and dates beside instants are times of the zone.
-- timezone: Europe/Berlin
SELECT count(*) FILTER (WHERE sold_at >= '2026-01-24') AS text, count(*) FILTER (WHERE sold_at >= DATE '2026-01-24') AS date,
       count(*) FILTER (WHERE sold_at >= TIMESTAMP '2026-01-24 00:30:00') AS wall,
       count(*) FILTER (WHERE sold_at >= '2026-01-24 00:30:00+00') AS instant,
       count(*) FILTER (WHERE sold_at + INTERVAL '1 day' > DATE '2026-03-30') AS next_day
FROM sales
-- postgres
SELECT count(*) FILTER (WHERE sold_at >= '2026-01-24'), count(*) FILTER (WHERE sold_at >= DATE '2026-01-24'),
       count(*) FILTER (WHERE sold_at >= TIMESTAMP '2026-01-24 00:30:00'),
       count(*) FILTER (WHERE sold_at >= '2026-01-24 00:30:00+00'),
       count(*) FILTER (WHERE sold_at + INTERVAL '1 day' > DATE '2026-03-30')
FROM sales
-- expect
text bigint | date bigint | wall bigint | instant bigint | next_day bigint
11 | 11 | 11 | 10 | 7
