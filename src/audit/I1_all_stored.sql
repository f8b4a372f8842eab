-- I1: every record that was taken is in payments, or repeats one that is, or was rejected.
-- As far as the log reaches back. taken: 1 below the saver's position, 0 not yet, null nobody's.
-- stored_…: of the payment with the record's id. Needs the log. At once.
SELECT count(*) FROM log WHERE taken = 1;

SELECT coalesce(l.payment_id, l.topic || '/' || l.partition || '/' || l.offset),
       'record ' || l.topic || '/' || l.partition || '/' || l.offset
       || CASE WHEN l.readable = 0 THEN ' cannot be understood'
               WHEN l.stored_user_id IS NULL THEN ' is not in payments'
               ELSE ' asks for another thing than the payment' END
       || ', and was not rejected'
FROM log l
WHERE l.taken = 1
  AND (l.stored_user_id IS NULL OR l.stored_user_id <> l.user_id
       OR l.stored_payment_type <> l.payment_type
       OR l.stored_subscription_type <> l.subscription_type)
  AND NOT EXISTS (SELECT 1 FROM rejected r
                  WHERE r.topic = l.topic AND r.partition = l.partition AND r.offset = l.offset)
  AND NOT EXISTS (SELECT 1 FROM rejected r
                  WHERE r.topic = l.topic AND r.content = l.content AND r.partition IS NULL)
ORDER BY l.topic, l.partition, l.offset;

-- What clients were told (--accepted). Needs the log. At once.
SELECT count(*) FROM accepted;

WITH queued AS MATERIALIZED (
    SELECT payment_id FROM log WHERE payment_id IS NOT NULL
    UNION
    SELECT payment_id FROM rejected WHERE payment_id IS NOT NULL
)
SELECT a.payment_id, 'was told to a client (line ' || a.line
       || '), and is neither in the queue nor in payments'
FROM accepted a LEFT JOIN queued q ON q.payment_id = a.payment_id
WHERE a.stored = 0 AND q.payment_id IS NULL
ORDER BY a.line;
