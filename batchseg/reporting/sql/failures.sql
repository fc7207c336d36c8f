-- Failures by cause
SELECT cause, count(*) AS images FROM (
  SELECT status AS cause FROM $images WHERE status <> 'ok'
  UNION ALL
  SELECT 'truth_' || truth_status FROM $images WHERE truth_status NOT IN ('ok', 'none')
) GROUP BY cause ORDER BY images DESC;
