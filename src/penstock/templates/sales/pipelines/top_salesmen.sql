/*
description: Salesmen by total sales, each day, the hundred best
late: set_aside
timezone: UTC
indexes: [[salesman_id, date], [rank], [total_sales desc]]
*/
SELECT CAST(sold_at AS DATE) AS date, salesman_id, arg_max(salesman_name, (sold_at, sale_id)) AS salesman_name,
       CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals_closed,
       CAST(avg(amount) AS DECIMAL(15,2)) AS avg_deal_size, count(DISTINCT city) AS cities_covered,
       rank() OVER (PARTITION BY date ORDER BY total_sales DESC) AS rank
FROM sales
GROUP BY date, salesman_id
QUALIFY rank <= 100
