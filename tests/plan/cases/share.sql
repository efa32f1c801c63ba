-- A share of the whole: exact quotient of a sum and a sum of sums, rounded where a scale is asked.
SELECT city, sum(amount) / sum(sum(amount)) OVER () AS share,
       round(100 * sum(amount) / sum(sum(amount)) OVER (), 1) AS percent
FROM sales GROUP BY city
-- postgres
SELECT city, round(sum(amount) / sum(sum(amount)) OVER (), 16), round(100 * sum(amount) / sum(sum(amount)) OVER (), 1)
FROM sales GROUP BY city
-- expect
city text | share decimal(38,16) | percent decimal(38,1)
Basel | 0.8921751735288378 | 89.2
Bern | 0.0334792183536364 | 3.3
Chur | 0.0742619797619379 | 7.4
Züri | 0.0000836283555878 | 0.0
