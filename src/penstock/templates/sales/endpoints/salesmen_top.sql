/*
path: /api/v1/salesmen/top
summary: Salesmen by total sales on one day
parameters:
  date: {type: string, format: date, required: true}
  limit: {type: integer, minimum: 1, maximum: 1000, default: 10}
*/
SELECT date, salesman_id, salesman_name, total_sales, deals_closed, rank
FROM top_salesmen WHERE date = :date AND rank <= :limit
ORDER BY rank, salesman_id
