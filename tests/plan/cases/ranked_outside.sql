-- Ranks of an inner SELECT filtered by an outer one.
SELECT city, total, place FROM (
  SELECT city, sum(amount) AS total, row_number() OVER (ORDER BY sum(amount) DESC, city) AS place
  FROM sales GROUP BY city)
WHERE place < 3
-- postgres
SELECT city, total, place FROM (
  SELECT city, sum(amount) AS total, row_number() OVER (ORDER BY sum(amount) DESC, city) AS place
  FROM sales GROUP BY city) x
WHERE place < 3
-- expect
city text | total decimal(38,2) | place bigint
Basel | 320.05 | 1
Chur | 26.64 | 2
