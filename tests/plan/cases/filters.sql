-- FILTER on every kind of aggregate.
SELECT city, sum(amount) FILTER (WHERE channel = 'shop') AS shop, count(*) FILTER (WHERE channel = 'shop') AS n,
       avg(amount) FILTER (WHERE channel = 'drop') AS dropped, count(DISTINCT seller) FILTER (WHERE amount > 5) AS sellers,
       max(amount) FILTER (WHERE NOT returned) AS biggest,
       arg_min(seller, sale_id) FILTER (WHERE channel <> 'shop') AS first_other
FROM sales GROUP BY city
-- postgres
SELECT city, sum(amount) FILTER (WHERE channel = 'shop'), count(*) FILTER (WHERE channel = 'shop'),
       avg(amount) FILTER (WHERE channel = 'drop'), count(DISTINCT seller) FILTER (WHERE amount > 5),
       max(amount) FILTER (WHERE NOT returned),
       (array_agg(seller ORDER BY sale_id) FILTER (WHERE channel <> 'shop'))[1]
FROM sales GROUP BY city
-- expect
city text | shop decimal(38,2) | n bigint | dropped decimal(38,16) | sellers bigint | biggest decimal(12,2) | first_other text
Basel | 300.00 | 2 | NULL | 2 | 200.00 | cid
Bern | 2.01 | 2 | 10.0000000000000000 | 1 | 1.01 | bob
Chur | 7.77 | 1 | 9.4350000000000000 | 2 | 9.99 | dan
Züri | NULL | 0 | NULL | 0 | 0.01 | eve
