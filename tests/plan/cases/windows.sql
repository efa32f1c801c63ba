-- Window functions over results.
SELECT city, sum(amount) AS total, rank() OVER (ORDER BY max(channel) NULLS FIRST) AS r,
       lag(sum(amount)) OVER (ORDER BY city) AS before, lead(city, 2, '-') OVER (ORDER BY city) AS after,
       sum(sum(amount)) OVER (ORDER BY city) AS running, avg(sum(amount)) OVER () AS mean,
       count(*) OVER () AS cities, ntile(2) OVER (ORDER BY city) AS half, first_value(city) OVER (ORDER BY city) AS first,
       percent_rank() OVER (ORDER BY city) AS pr, cume_dist() OVER (ORDER BY city) AS cd, max(count(*)) OVER () AS most
FROM sales GROUP BY city
-- postgres
SELECT city, sum(amount), rank() OVER (ORDER BY max(channel COLLATE "C") NULLS FIRST),
       lag(sum(amount)) OVER (ORDER BY city COLLATE "C"), lead(city, 2, '-') OVER (ORDER BY city COLLATE "C"),
       sum(sum(amount)) OVER (ORDER BY city COLLATE "C"), round(avg(sum(amount)) OVER (), 16),
       count(*) OVER (), ntile(2) OVER (ORDER BY city COLLATE "C"), first_value(city) OVER (ORDER BY city COLLATE "C"),
       percent_rank() OVER (ORDER BY city COLLATE "C"), cume_dist() OVER (ORDER BY city COLLATE "C"), max(count(*)) OVER ()
FROM sales GROUP BY city
-- expect
city text | total decimal(38,2) | r bigint | before decimal(38,2) | after text | running decimal(38,2) | mean decimal(38,16) | cities bigint | half bigint | first text | pr double | cd double | most bigint
Basel | 320.05 | 1 | NULL | Chur | 320.05 | 89.6825000000000000 | 4 | 1 | Basel | 0.0 | 0.25 | 4
Bern | 12.01 | 1 | 320.05 | Züri | 332.06 | 89.6825000000000000 | 4 | 1 | Basel | 0.3333333333333333 | 0.5 | 4
Chur | 26.64 | 1 | 12.01 | - | 358.70 | 89.6825000000000000 | 4 | 2 | Basel | 0.6666666666666666 | 0.75 | 4
Züri | 0.03 | 4 | 26.64 | - | 358.73 | 89.6825000000000000 | 4 | 2 | Basel | 1.0 | 1.0 | 4
