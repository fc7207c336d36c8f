WITH cells AS (
  SELECT truth, predicted, sum(pixels) AS pixels
  FROM 'pixels/*.parquet' WHERE truth IS NOT NULL GROUP BY ALL
), sums AS (
  SELECT class_id, sum(correct) AS correct, sum(support) AS support, sum(predicted) AS predicted FROM (
    SELECT truth AS class_id, if(truth = predicted, pixels, 0) AS correct,
           pixels AS support, 0 AS predicted FROM cells
    UNION ALL
    SELECT predicted, 0, 0, pixels FROM cells WHERE predicted IS NOT NULL
  ) GROUP BY class_id
)
