-- Without GROUP BY there is one row.
SELECT count(*) AS n, count(channel) AS channels, sum(pieces) AS pieces, avg(pieces) AS average, min(channel) AS first,
       max(sold_at) AS last, sum(big) AS big, count(DISTINCT channel) AS kinds
FROM sales
-- postgres
SELECT count(*), count(channel), sum(pieces), avg(pieces), min(channel COLLATE "C"), max(sold_at), sum(big),
       count(DISTINCT channel)
FROM sales
-- expect
n bigint | channels bigint | pieces decimal(38,0) | average decimal(38,16) | first text | last timestamp | big decimal(38,0) | kinds bigint
12 | 11 | 29 | 2.6363636363636364 | drop | 2026-12-31 23:30:00.000000+00 | 18000000000000000032 | 4
