-- Standard deviation and variance from exact sums.
SELECT city, stddev(amount) AS sd, stddev_pop(amount) AS sdp, variance(pieces) AS v, var_pop(pieces) AS vp,
       CAST(stddev_samp(discount) AS DECIMAL(10,6)) AS d
FROM sales GROUP BY city
-- postgres
SELECT city, stddev(amount), stddev_pop(amount), variance(pieces), var_pop(pieces), CAST(stddev_samp(discount) AS numeric(10,6))
FROM sales GROUP BY city
-- expect
city text | sd double | sdp double | v double | vp double | d decimal(10,6)
Basel | 90.90654885650429 | 78.72738068010392 | 12.0 | 8.0 | 0.235679
Bern | 5.193268078323449 | 4.240285629792198 | 1.0 | 0.6666666666666666 | 0.035355
Chur | 1.11 | 0.9063112048297759 | 0.33333333333333337 | 0.22222222222222224 | 0.072169
Züri | 0.007071067811865475 | 0.005 | 0.5 | 0.25 | 0.706965
