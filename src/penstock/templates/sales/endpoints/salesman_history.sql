/*
path: /api/v1/salesmen/{id}/history
summary: A salesman's last thirty days
parameters:
  id: {type: string, maxLength: 50}
*/
SELECT date, salesman_id, salesman_name, total_sales, deals_closed, rank
FROM top_salesmen WHERE salesman_id = :id
ORDER BY date DESC LIMIT 30
