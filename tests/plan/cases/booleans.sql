-- bool_and and bool_or leave NULLs out.
SELECT city, bool_and(returned) AS every, bool_or(returned) AS any, bool_and(amount > 1) AS all_big, count_if(returned) AS n
FROM sales GROUP BY city
-- postgres
SELECT city, bool_and(returned), bool_or(returned), bool_and(amount > 1), count(*) FILTER (WHERE returned)
FROM sales GROUP BY city
-- expect
city text | every boolean | any boolean | all_big boolean | n bigint
Basel | false | false | false | 0
Bern | false | true | false | 1
Chur | false | true | true | 1
Züri | false | true | false | 1
