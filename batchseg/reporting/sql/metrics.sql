-- Every metric over the data set, from summed counts
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
SELECT sum(correct) / sum(support) AS accuracy,
       sum(correct) / sum(support) AS recall_weighted,
       sum(2 * correct / (support + predicted) * support) / sum(support) AS f1_weighted,
       avg(if(support > 0, correct / support, 0)) AS recall_macro,
       avg(2 * correct / (support + predicted)) AS f1_macro,
       avg(if(predicted > 0, correct / predicted, 0)) AS precision_macro,
       avg(correct / (support + predicted - correct)) AS mean_iou
FROM sums;
