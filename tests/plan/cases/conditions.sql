-- CASE, COALESCE, NULLIF, IN, BETWEEN, LIKE, IS DISTINCT FROM.
SELECT CASE WHEN amount > 50 THEN 'big' WHEN amount BETWEEN 1 AND 50 THEN 'middle' ELSE 'small' END AS size,
       CASE city WHEN 'Bern' THEN 1 WHEN 'Basel' THEN 2 END AS code, coalesce(channel, '?') AS channel,
       channel IN ('shop', 'drop') AS own, city LIKE 'B%' AS b, city NOT ILIKE '%U%' AS no_u,
       channel IS DISTINCT FROM 'shop' AS other, returned IS TRUE AS back, count(*) AS n,
       sum(coalesce(pieces, 0)) AS pieces, greatest(1, 2.5) AS g
FROM sales GROUP BY ALL
-- postgres
SELECT CASE WHEN amount > 50 THEN 'big' WHEN amount BETWEEN 1 AND 50 THEN 'middle' ELSE 'small' END,
       CASE city WHEN 'Bern' THEN 1 WHEN 'Basel' THEN 2 END, coalesce(channel, '?'), channel IN ('shop', 'drop'),
       city LIKE 'B%', city NOT ILIKE '%U%', channel IS DISTINCT FROM 'shop', returned IS TRUE, count(*),
       sum(coalesce(pieces, 0)), greatest(1, 2.5)
FROM sales GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
-- expect
size text | code integer | channel text | own boolean | b boolean | no_u boolean | other boolean | back boolean | n bigint | pieces decimal(38,0) | g decimal(2,1)
big | 2 | shop | true | true | true | false | false | 2 | 2 | 2.5
middle | 1 | drop | true | true | true | true | true | 1 | 3 | 2.5
middle | 1 | shop | true | true | true | false | false | 2 | 3 | 2.5
middle | 2 | ? | NULL | true | true | true | false | 1 | 0 | 2.5
middle | NULL | drop | true | false | false | true | false | 1 | 5 | 2.5
middle | NULL | drop | true | false | false | true | true | 1 | 4 | 2.5
middle | NULL | shop | true | false | false | false | false | 1 | 4 | 2.5
small | 2 | partner | false | true | true | true | false | 1 | 7 | 2.5
small | NULL | web | false | false | true | true | false | 1 | 1 | 2.5
small | NULL | web | false | false | true | true | true | 1 | 0 | 2.5
