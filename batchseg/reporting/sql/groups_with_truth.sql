-- Metrics by $group
WITH groups AS (
  SELECT id, status, has_truth, confidence_mean, $value AS value FROM $images
), cells AS (
  SELECT value, truth, predicted, sum(pixels) AS pixels
  FROM groups JOIN 'pixels/*.parquet' USING (id) WHERE truth IS NOT NULL GROUP BY ALL
), sums AS (
  SELECT value, class_id, sum(correct) AS correct, sum(support) AS support,
         sum(predicted) AS predicted FROM (
    SELECT value, truth AS class_id, if(truth = predicted, pixels, 0) AS correct,
           pixels AS support, 0 AS predicted FROM cells
    UNION ALL
    SELECT value, predicted, 0, 0, pixels FROM cells WHERE predicted IS NOT NULL
  ) GROUP BY ALL
), scores AS (
  SELECT value, avg(correct / (support + predicted - correct)) AS mean_iou,
         sum(correct) / sum(support) AS accuracy
  FROM sums GROUP BY value
)
SELECT groups.value, count(*) AS images, count(*) FILTER (status <> 'ok') AS failed,
       count(*) FILTER (has_truth) AS scored, avg(confidence_mean) AS confidence,
       any_value(scores.mean_iou) AS mean_iou, any_value(scores.accuracy) AS accuracy
FROM groups LEFT JOIN scores ON groups.value IS NOT DISTINCT FROM scores.value
GROUP BY groups.value ORDER BY groups.value;
