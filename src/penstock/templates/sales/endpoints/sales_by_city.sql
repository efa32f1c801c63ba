/*
path: /api/v1/sales/city
summary: Cities by total sales on one day
parameters:
  date: {type: string, format: date, required: true}
  limit: {type: integer, minimum: 1, maximum: 1000, default: 10}
*/
SELECT date, city, total_sales, transaction_count
FROM top_sales_by_city WHERE date = :date
ORDER BY total_sales DESC, city LIMIT :limit
