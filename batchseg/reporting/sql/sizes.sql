-- Objects of the truth by size: bucket b holds areas from 4^b pixels on
SELECT (len(bin(area)) - 1) // 2 AS bucket, count(*) AS objects, avg(iou) AS mean_iou,
       count(match) / count(*) AS recall
FROM 'objects/*.parquet' WHERE side = 'truth' AND iou IS NOT NULL
GROUP BY bucket ORDER BY bucket;
