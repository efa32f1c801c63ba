-- A quotient is rounded once, at the scale asked, through CASE, COALESCE and arithmetic.
SELECT city, CAST(coalesce(sum(amount) / nullif(sum(pieces), 0), 0) AS DECIMAL(12,2)) AS per_piece,
       CAST(sum(amount) / count(*) * 3 AS DECIMAL(12,2)) AS tripled, avg(amount) + 1 AS one_more,
       round(avg(amount) / avg(pieces), 3) AS ratio, floor(avg(amount)) AS floored, ceil(-avg(amount)) AS raised,
       CAST(CASE WHEN count(*) > 2 THEN avg(amount) ELSE 0.125 END AS DECIMAL(12,2)) AS guarded,
       CAST(avg(amount) AS INTEGER) AS whole, sum(amount) / sum(pieces) > 2 AS dear
FROM sales GROUP BY city
-- postgres
SELECT city, CAST(coalesce(sum(amount) / nullif(sum(pieces), 0), 0) AS numeric(12,2)),
       CAST(sum(amount) * 3 / count(*) AS numeric(12,2)), round(avg(amount) + 1, 16),
       round(sum(amount) * count(pieces) / (count(*) * sum(pieces)), 3), floor(avg(amount)), ceil(-avg(amount)),
       CAST(CASE WHEN count(*) > 2 THEN avg(amount) ELSE 0.125 END AS numeric(12,2)),
       CAST(avg(amount) AS integer), sum(amount) / sum(pieces) > 2
FROM sales GROUP BY city
-- expect
city text | per_piece decimal(12,2) | tripled decimal(12,2) | one_more decimal(38,16) | ratio decimal(38,3) | floored decimal(38,0) | raised decimal(38,0) | guarded decimal(12,2) | whole integer | dear boolean
Basel | 35.56 | 240.04 | 81.0125000000000000 | 26.671 | 80 | -80 | 80.01 | 80 | true
Bern | 2.00 | 12.01 | 5.0033333333333333 | 2.002 | 4 | -4 | 4.00 | 4 | true
Chur | 2.05 | 26.64 | 9.8800000000000000 | 2.049 | 8 | -8 | 8.88 | 9 | true
Züri | 0.03 | 0.05 | 1.0150000000000000 | 0.030 | 0 | 0 | 0.13 | 0 | false
