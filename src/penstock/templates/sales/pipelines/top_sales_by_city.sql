/*
description: Cities by total sales, each day
late: set_aside
timezone: UTC
indexes: [[city, date], [total_sales desc]]
*/
SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
       count(*) AS transaction_count, CAST(avg(amount) AS DECIMAL(15,2)) AS avg_sale,
       CAST(max(amount) AS DECIMAL(15,2)) AS max_sale
FROM sales
GROUP BY date, city
