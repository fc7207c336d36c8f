-- What was meant, over the images with a prompt and a truth
WITH areas AS (
  SELECT id, any_value(prompt_iou) AS iou,
         coalesce(sum(pixels) FILTER (truth = 1), 0) AS meant,
         coalesce(sum(pixels) FILTER (truth = 1 AND predicted = 1), 0) AS intersection,
         coalesce(sum(pixels) FILTER (truth = 1 OR (truth = 0 AND predicted = 1)), 0) AS either
  FROM $images JOIN 'pixels/*.parquet' USING (id)
  WHERE prompt_iou IS NOT NULL GROUP BY id
)
SELECT avg(iou) AS giou, sum(intersection) / sum(either) AS ciou,
       avg(iou) FILTER (meant = 0) AS no_target_accuracy
FROM areas;
