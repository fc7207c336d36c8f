-- The confusion matrix; predicted is 'none' where the mask abstains
SELECT truth, coalesce(predicted::VARCHAR, 'none') AS predicted, sum(pixels) AS pixels,
       sum(pixels) / sum(sum(pixels)) OVER (PARTITION BY truth) AS share
FROM 'pixels/*.parquet' WHERE truth IS NOT NULL
GROUP BY truth, predicted ORDER BY pixels DESC;
