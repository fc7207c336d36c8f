-- Images, those that failed, and those with truth
SELECT count(*) AS total,
       count(*) FILTER (status = 'ok') AS segmented,
       count(*) FILTER (status <> 'ok') AS failed,
       count(*) FILTER (has_truth) AS scored,
       count(*) FILTER (truth_status NOT IN ('ok', 'none')) AS truths_failed
FROM $images;
