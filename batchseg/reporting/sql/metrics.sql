-- Every metric over the data set, from summed counts
${sums}SELECT sum(correct) / sum(support) AS accuracy,
       sum(correct) / sum(support) AS recall_weighted,
       sum(2 * correct / (support + predicted) * support) / sum(support) AS f1_weighted,
       avg(if(support > 0, correct / support, 0)) AS recall_macro,
       avg(2 * correct / (support + predicted)) AS f1_macro,
       avg(if(predicted > 0, correct / predicted, 0)) AS precision_macro,
       avg(correct / (support + predicted - correct)) AS mean_iou
FROM sums;
