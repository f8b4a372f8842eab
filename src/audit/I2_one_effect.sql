-- I2: the processing executed at most one charge per payment, and at most one refund per charge.
-- Needs the journal. At once.
SELECT count(*) FROM whole_journal WHERE result = 'success';

SELECT payment_id,
       'charged ' || count(*) || ' times: journal lines ' || min(seq) || ' … ' || max(seq)
FROM whole_journal WHERE result = 'success' AND payment_type = 'payment'
GROUP BY payment_id HAVING count(*) > 1
UNION ALL
SELECT coalesce(refund_of, payment_id),
       'refunded ' || count(*) || ' times: journal lines ' || min(seq) || ' … ' || max(seq)
FROM whole_journal WHERE result = 'success' AND payment_type = 'refund'
GROUP BY coalesce(refund_of, payment_id) HAVING count(*) > 1
ORDER BY 1;
