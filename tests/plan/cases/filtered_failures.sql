-- FILTER keeps an operand from failing on the rows it leaves out.
SELECT city, sum(amount / pieces) FILTER (WHERE pieces > 0) AS s, max(pieces // pieces) FILTER (WHERE pieces <> 0) AS m,
       count(DISTINCT amount / pieces) FILTER (WHERE pieces <> 0) AS d, bool_and(1 / pieces > 0) FILTER (WHERE pieces <> 0) AS b,
       arg_max(sale_id, (amount / pieces, sale_id)) FILTER (WHERE pieces <> 0) AS a
FROM sales GROUP BY city
-- postgres
SELECT city, sum(round(amount / pieces, 16)) FILTER (WHERE pieces > 0), max(pieces / pieces) FILTER (WHERE pieces <> 0),
       count(DISTINCT amount / pieces) FILTER (WHERE pieces <> 0), bool_and(1.0 / pieces > 0) FILTER (WHERE pieces <> 0),
       (array_agg(sale_id ORDER BY amount / nullif(pieces, 0) DESC, sale_id DESC) FILTER (WHERE pieces <> 0))[1]
FROM sales GROUP BY city
-- expect
city text | s decimal(38,16) | m bigint | d bigint | b boolean | a text
Basel | 300.0071428571428571 | 1 | 3 | true | b2
Bern | 4.8383333333333333 | 1 | 3 | true | a3
Chur | 6.1605000000000000 | 1 | 3 | true | c2
Züri | 0.0100000000000000 | 1 | 1 | true | d1
