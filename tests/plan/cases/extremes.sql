-- min, max, arg_min and arg_max of every kind of value; a NULL value does not take part.
SELECT city, min(sold_at) AS first, max(shipped_on) AS last, min(returned) AS none, arg_max(channel, sale_id) AS c,
       arg_min(pieces, (amount, sale_id)) AS p, max_by(seller, (amount, seller)) AS s,
       last(seller ORDER BY sold_at, sale_id) AS latest, first(seller ORDER BY sold_at DESC, sale_id DESC) AS latest_too
FROM sales GROUP BY city
-- postgres
SELECT city, min(sold_at), max(shipped_on), bool_and(returned),
       (array_agg(channel ORDER BY sale_id DESC) FILTER (WHERE channel IS NOT NULL))[1],
       (array_agg(pieces ORDER BY amount, sale_id) FILTER (WHERE pieces IS NOT NULL))[1],
       (array_agg(seller ORDER BY amount DESC, seller DESC))[1],
       (array_agg(seller ORDER BY sold_at DESC, sale_id DESC))[1], (array_agg(seller ORDER BY sold_at DESC, sale_id DESC))[1]
FROM sales GROUP BY city
-- expect
city text | first timestamp | last date | none boolean | c text | p integer | s text | latest text | latest_too text
Basel | 2026-01-24 11:00:00.000000+00 | 2026-03-30 | false | shop | 7 | ann | ann | ann
Bern | 2026-01-23 09:00:00.000000+00 | 2026-01-25 | false | drop | 1 | bob | bob | bob
Chur | 2026-10-25 00:30:00.000000+00 | 2026-10-26 | false | drop | 4 | eve | eve | eve
Züri | 2026-12-31 23:30:00.000000+00 | 2027-01-04 | false | web | 1 | fay | fay | fay
