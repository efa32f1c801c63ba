/*
description: Each day's sales per city
indexes: [[city, date]]
*/
SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS sales_count
FROM sales
GROUP BY date, city
