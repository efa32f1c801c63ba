-- Exact numbers: rounding half away from zero, whole division, remainders.
SELECT sale_id, round(amount, 1) AS r1, round(amount) AS r0, round(amount, -1) AS tens, ceil(amount) AS c,
       floor(-amount) AS f, trunc(amount * 1.5, 1) AS t, abs(-amount) AS a, sign(-amount) AS s, pieces // 2 AS half,
       pieces % 2 AS odd, amount % 3 AS rest, CAST(amount AS INTEGER) AS whole, -pieces AS minus,
       CAST(amount / 3 AS DECIMAL(10,4)) AS third, pieces / 3 AS exact_third, CAST(-amount / 8 AS DECIMAL(10,2)) AS eighth,
       amount * amount AS squared, CAST('1.005' AS DECIMAL(5,2)) AS half_up, power(pieces, 2) AS p
FROM sales WHERE pieces IS NOT NULL
-- postgres
SELECT sale_id, round(amount, 1), round(amount), round(amount, -1), ceil(amount), floor(-amount), trunc(amount * 1.5, 1),
       abs(-amount), sign(-amount), pieces / 2, pieces % 2, amount % 3, CAST(amount AS integer), -pieces,
       CAST(amount / 3 AS numeric(10,4)), round(pieces::numeric / 3, 16), CAST(-amount / 8 AS numeric(10,2)),
       amount * amount, CAST('1.005' AS numeric(5,2)), power(pieces::double precision, 2)
FROM sales WHERE pieces IS NOT NULL
-- expect
sale_id text | r1 decimal(12,1) | r0 decimal(12,0) | tens decimal(38,0) | c decimal(11,0) | f decimal(11,0) | t decimal(38,1) | a decimal(12,2) | s integer | half bigint | odd bigint | rest decimal(12,2) | whole integer | minus bigint | third decimal(10,4) | exact_third decimal(38,16) | eighth decimal(10,2) | squared decimal(31,4) | half_up decimal(5,2) | p double
a1 | 1.0 | 1 | 0 | 1 | -1 | 1.5 | 1.00 | -1 | 0 | 1 | 1.00 | 1 | -1 | 0.3333 | 0.3333333333333333 | -0.13 | 1.0000 | 1.01 | 1.0
a2 | 1.0 | 1 | 0 | 2 | -2 | 1.5 | 1.01 | -1 | 1 | 0 | 1.01 | 1 | -2 | 0.3367 | 0.6666666666666667 | -0.13 | 1.0201 | 1.01 | 4.0
a3 | 10.0 | 10 | 10 | 10 | -10 | 15.0 | 10.00 | -1 | 1 | 1 | 1.00 | 10 | -3 | 3.3333 | 1.0000000000000000 | -1.25 | 100.0000 | 1.01 | 9.0
a5 | 0.1 | 0 | 0 | 1 | -1 | 0.0 | 0.05 | -1 | 3 | 1 | 0.05 | 0 | -7 | 0.0167 | 2.3333333333333333 | -0.01 | 0.0025 | 1.01 | 49.0
b1 | 100.0 | 100 | 100 | 100 | -100 | 150.0 | 100.00 | -1 | 0 | 1 | 1.00 | 100 | -1 | 33.3333 | 0.3333333333333333 | -12.50 | 10000.0000 | 1.01 | 1.0
b2 | 200.0 | 200 | 200 | 200 | -200 | 300.0 | 200.00 | -1 | 0 | 1 | 2.00 | 200 | -1 | 66.6667 | 0.3333333333333333 | -25.00 | 40000.0000 | 1.01 | 1.0
c1 | 7.8 | 8 | 10 | 8 | -8 | 11.6 | 7.77 | -1 | 2 | 0 | 1.77 | 8 | -4 | 2.5900 | 1.3333333333333333 | -0.97 | 60.3729 | 1.01 | 16.0
c2 | 8.9 | 9 | 10 | 9 | -9 | 13.3 | 8.88 | -1 | 2 | 0 | 2.88 | 9 | -4 | 2.9600 | 1.3333333333333333 | -1.11 | 78.8544 | 1.01 | 16.0
c3 | 10.0 | 10 | 10 | 10 | -10 | 14.9 | 9.99 | -1 | 2 | 1 | 0.99 | 10 | -5 | 3.3300 | 1.6666666666666667 | -1.25 | 99.8001 | 1.01 | 25.0
d1 | 0.0 | 0 | 0 | 1 | -1 | 0.0 | 0.01 | -1 | 0 | 1 | 0.01 | 0 | -1 | 0.0033 | 0.3333333333333333 | 0.00 | 0.0001 | 1.01 | 1.0
d2 | 0.0 | 0 | 0 | 1 | -1 | 0.0 | 0.02 | -1 | 0 | 0 | 0.02 | 0 | 0 | 0.0067 | 0.0000000000000000 | 0.00 | 0.0004 | 1.01 | 0.0
