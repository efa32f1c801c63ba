-- SELECT DISTINCT is GROUP BY; NULL is a group.
SELECT DISTINCT city, channel FROM sales
-- postgres
SELECT DISTINCT city, channel FROM sales
-- expect
city text | channel text
Basel | NULL
Basel | partner
Basel | shop
Bern | drop
Bern | shop
Chur | drop
Chur | shop
Züri | web
