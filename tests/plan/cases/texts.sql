-- The usual functions of text.
SELECT sale_id, lower(city) || '-' || seller AS joined, length(city) AS n, left(city, 2) AS l, right(city, 2) AS r,
       substring(city, 2, 3) AS mid, replace(city, 'B', 'P') AS swapped, trim('  ' || city || ' ') AS trimmed,
       lpad(seller, 5, '.') AS padded, split_part('a,b,c', ',', 2) AS part, concat(channel, '/', pieces) AS c,
       concat_ws('+', channel, seller) AS ws, instr(city, 'e') AS at, starts_with(city, 'Be') AS be, reverse(seller) AS rev,
       regexp_matches(city, '^B.*n$') AS bn, regexp_replace(city, '[aeiou]', '*', 'g') AS stars, md5(sale_id) AS hash
FROM sales WHERE sale_id < 'b'
-- postgres
SELECT sale_id, lower(city) || '-' || seller, length(city), left(city, 2), right(city, 2), substring(city, 2, 3),
       replace(city, 'B', 'P'), trim('  ' || city || ' '), lpad(seller, 5, '.'), split_part('a,b,c', ',', 2),
       concat(channel, '/', pieces), concat_ws('+', channel, seller), strpos(city, 'e'), starts_with(city, 'Be'),
       reverse(seller), city ~ '^B.*n$', regexp_replace(city, '[aeiou]', '*', 'g'), md5(sale_id)
FROM sales WHERE sale_id < 'b'
-- expect
sale_id text | joined text | n bigint | l text | r text | mid text | swapped text | trimmed text | padded text | part text | c text | ws text | at bigint | be boolean | rev text | bn boolean | stars text | hash text
a1 | bern-ann | 4 | Be | rn | ern | Pern | Bern | ..ann | b | shop/1 | shop+ann | 2 | true | nna | true | B*rn | 8a8bb7cd343aa2ad99b7d762030857a2
a2 | bern-ann | 4 | Be | rn | ern | Pern | Bern | ..ann | b | shop/2 | shop+ann | 2 | true | nna | true | B*rn | 693a9fdd4c2fd0700968fba0d07ff3c0
a3 | bern-bob | 4 | Be | rn | ern | Pern | Bern | ..bob | b | drop/3 | drop+bob | 2 | true | bob | true | B*rn | 9d607a663f3e9b0a90c3c8d4426640dc
a4 | basel-bob | 5 | Ba | el | ase | Pasel | Basel | ..bob | b | / | bob | 4 | false | bob | false | B*s*l | 894f782a148b33af1e39a0efed952d69
a5 | basel-cid | 5 | Ba | el | ase | Pasel | Basel | ..cid | b | partner/7 | partner+cid | 4 | false | dic | false | B*s*l | 32cfe6c19200b67afb7c3d0e1c43eadb
