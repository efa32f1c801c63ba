-- Parts of dates are read on the wall clock of the zone.
-- timezone: Europe/Berlin
SELECT sale_id, year(sold_at) AS y, month(sold_at) AS m, day(sold_at) AS d, extract(hour FROM sold_at) AS h,
       date_part('dow', sold_at) AS dow, week(sold_at) AS week, strftime(sold_at, '%Y-%m-%d %H:%M') AS shown,
       date_diff('day', sold_at, TIMESTAMPTZ '2027-01-02 00:00:00+00') AS days, epoch_ms(sold_at) AS ms,
       shipped_on - CAST(sold_at AS DATE) AS took, shipped_on + 7 AS due, last_day(shipped_on) AS month_end
FROM sales
-- postgres
SELECT sale_id, extract(year FROM sold_at), extract(month FROM sold_at), extract(day FROM sold_at),
       extract(hour FROM sold_at), extract(dow FROM sold_at), extract(week FROM sold_at),
       to_char(sold_at, 'YYYY-MM-DD HH24:MI'),
       CAST(TIMESTAMPTZ '2027-01-02 00:00:00+00' AS date) - CAST(sold_at AS date),
       CAST(extract(epoch FROM sold_at) * 1000 AS bigint),
       shipped_on - CAST(sold_at AS date), shipped_on + 7,
       CAST(date_trunc('month', shipped_on::timestamp) + INTERVAL '1 month - 1 day' AS date)
FROM sales
-- expect
sale_id text | y bigint | m bigint | d bigint | h bigint | dow bigint | week bigint | shown text | days bigint | ms bigint | took bigint | due date | month_end date
a1 | 2026 | 1 | 23 | 10 | 5 | 4 | 2026-01-23 10:00 | 344 | 1769158800000 | 1 | 2026-01-31 | 2026-01-31
a2 | 2026 | 1 | 24 | 0 | 6 | 4 | 2026-01-24 00:30 | 343 | 1769211000000 | 1 | 2026-02-01 | 2026-01-31
a3 | 2026 | 1 | 24 | 11 | 6 | 4 | 2026-01-24 11:00 | 343 | 1769248800000 | NULL | NULL | NULL
a4 | 2026 | 1 | 24 | 12 | 6 | 4 | 2026-01-24 12:00 | 343 | 1769252400000 | 8 | 2026-02-08 | 2026-02-28
a5 | 2026 | 1 | 24 | 12 | 6 | 4 | 2026-01-24 12:00 | 343 | 1769252400000 | 9 | 2026-02-09 | 2026-02-28
b1 | 2026 | 3 | 29 | 1 | 0 | 13 | 2026-03-29 01:30 | 279 | 1774744200000 | 1 | 2026-04-06 | 2026-03-31
b2 | 2026 | 3 | 29 | 3 | 0 | 13 | 2026-03-29 03:30 | 279 | 1774747800000 | 1 | 2026-04-06 | 2026-03-31
c1 | 2026 | 10 | 25 | 2 | 0 | 43 | 2026-10-25 02:30 | 69 | 1792888200000 | 1 | 2026-11-02 | 2026-10-31
c2 | 2026 | 10 | 25 | 2 | 0 | 43 | 2026-10-25 02:30 | 69 | 1792891800000 | 1 | 2026-11-02 | 2026-10-31
c3 | 2026 | 10 | 26 | 0 | 1 | 44 | 2026-10-26 00:30 | 68 | 1792971000000 | NULL | NULL | NULL
d1 | 2027 | 1 | 1 | 0 | 5 | 53 | 2027-01-01 00:30 | 1 | 1798759800000 | 3 | 2027-01-11 | 2027-01-31
d2 | 2027 | 1 | 1 | 0 | 5 | 53 | 2027-01-01 00:30 | 1 | 1798759800000 | 3 | 2027-01-11 | 2027-01-31
