-- Every class
${sums}SELECT class_id,
       correct / (support + predicted - correct) AS iou,
       if(predicted > 0, correct / predicted, NULL) AS precision,
       if(support > 0, correct / support, NULL) AS recall,
       2 * correct / (support + predicted) AS f1,
       support
FROM sums ORDER BY iou;
