-- A filtered list, by primary key.
SELECT sale_id, upper(city) AS city, amount * pieces AS total, amount * (1 - discount) AS net, shipped_on
FROM sales WHERE amount >= 1 AND channel IS NOT NULL
-- postgres
SELECT sale_id, upper(city), amount * pieces, amount * (1 - discount), shipped_on
FROM sales WHERE amount >= 1 AND channel IS NOT NULL
-- expect
sale_id text | city text | total decimal(29,2) | net decimal(18,6) | shipped_on date
a1 | BERN | 1.00 | 0.900000 | 2026-01-24
a2 | BERN | 2.02 | NULL | 2026-01-25
a3 | BERN | 30.00 | 9.500000 | NULL
b1 | BASEL | 100.00 | NULL | 2026-03-30
b2 | BASEL | 200.00 | NULL | 2026-03-30
c1 | CHUR | 31.08 | 5.827500 | 2026-10-26
c2 | CHUR | 35.52 | 6.660000 | 2026-10-26
c3 | CHUR | 49.95 | 8.741250 | NULL
