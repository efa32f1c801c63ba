-- HAVING over groups, by alias and by aggregate.
SELECT seller, sum(amount) AS amount FROM sales GROUP BY seller HAVING amount > 5 AND count(*) > 1
-- postgres
SELECT seller, sum(amount) FROM sales GROUP BY seller HAVING sum(amount) > 5 AND count(*) > 1
-- expect
seller text | amount decimal(38,2)
ann | 302.01
bob | 30.00
dan | 16.65
eve | 10.00
