-- I1: every record that was taken is in payments, or repeats one that is, or was rejected.
-- As far as the log reaches back. taken: 1 below the saver's position, 0 not yet, null nobody's.
SELECT count(*) FROM log WHERE taken = 1;

SELECT coalesce(l.payment_id, l.topic || '/' || l.partition || '/' || l.offset),
       'record ' || l.topic || '/' || l.partition || '/' || l.offset
       || CASE WHEN l.readable = 0 THEN ' cannot be understood'
               WHEN p.seq IS NULL THEN ' is not in payments'
               ELSE ' asks for another thing than the payment' END
       || ', and was not rejected'
FROM log l LEFT JOIN payments p ON p.id = l.payment_id
WHERE l.taken = 1
  AND (p.seq IS NULL OR CAST(p.user_id AS text) <> l.user_id OR p.payment_type <> l.payment_type
       OR p.subscription_type <> l.subscription_type)
  AND NOT EXISTS (SELECT 1 FROM rejected r
                  WHERE r.topic = l.topic AND r.partition = l.partition AND r.offset = l.offset)
ORDER BY l.topic, l.partition, l.offset;

-- What clients were told (--accepted).
SELECT count(*) FROM accepted;

SELECT a.payment_id, 'was told to a client (line ' || a.line
       || '), and is neither in the queue nor in payments'
FROM accepted a LEFT JOIN payments p ON p.id = a.payment_id
WHERE p.seq IS NULL
  AND a.payment_id NOT IN (SELECT l.payment_id FROM log l WHERE l.payment_id IS NOT NULL
                           UNION ALL
                           SELECT r.payment_id FROM rejected r WHERE r.payment_id IS NOT NULL)
ORDER BY a.line;
