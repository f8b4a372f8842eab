-- I9: nothing undecided is overdue by the last heartbeat of the service that owes the next step.
-- late_before: ten minutes before that heartbeat. A service without one owes nothing that can be
-- judged; that is listed.
-- The processor: payments in flight, and new ones of users who have none in flight. One that no
-- account leads to is late as soon as it is old.
SELECT count(*) FROM payments p CROSS JOIN heartbeat h
WHERE h.service = 'processor' AND p.processing_status IN ('new', 'in_processing');

WITH owed AS MATERIALIZED (
    SELECT p.seq, CAST(p.id AS text) AS id, p.processing_status,
           CASE WHEN p.processing_status = 'in_processing' AND a.in_flight IS DISTINCT FROM p.seq
                THEN p.stored_at ELSE coalesce(a.due_at, p.stored_at) END AS due_at
    FROM payments p JOIN accounts a ON a.user_id = p.user_id
    WHERE p.processing_status = 'in_processing'
       OR (p.processing_status = 'new' AND a.in_flight IS NULL)
)
SELECT o.id, 'is ' || o.processing_status || ', and the processor owes the next step since '
       || o.due_at
FROM owed o JOIN heartbeat h ON h.service = 'processor' AND o.due_at < h.late_before
ORDER BY o.seq;

-- The saver: records that it has not taken. Needs the log. At once.
SELECT count(*) FROM log l CROSS JOIN heartbeat h WHERE h.service = 'saver' AND l.taken = 0;

SELECT coalesce(l.payment_id, l.topic || '/' || l.partition || '/' || l.offset),
       'record ' || l.topic || '/' || l.partition || '/' || l.offset
       || ' waits for the saver for more than ten minutes'
FROM log l JOIN heartbeat h ON h.service = 'saver'
WHERE l.taken = 0 AND l.recorded_at_us < h.late_before_us
ORDER BY l.topic, l.partition, l.offset;

-- The notifier: processed payments.
SELECT count(*) FROM payments p CROSS JOIN heartbeat h
WHERE h.service = 'notifier' AND p.processing_status = 'processed';

SELECT CAST(p.id AS text), 'is processed, and the notifier owes the user a message since '
       || coalesce(a.tell_due_at, p.stored_at)
FROM payments p JOIN accounts a ON a.user_id = p.user_id
JOIN heartbeat h ON h.service = 'notifier' AND coalesce(a.tell_due_at, p.stored_at) < h.late_before
WHERE p.processing_status = 'processed'
ORDER BY p.seq;

-- Listed, not judged. At once.
SELECT count(*) FROM payments;

WITH owed (service, steps) AS (
    SELECT 'processor', (SELECT count(*) FROM payments
                         WHERE processing_status IN ('new', 'in_processing'))
    UNION ALL
    SELECT 'saver', (SELECT count(*) FROM log WHERE taken = 0)
    UNION ALL
    SELECT 'notifier', (SELECT count(*) FROM payments WHERE processing_status = 'processed')
)
SELECT service, 'has left no heartbeat, and owes ' || steps || ' next steps' FROM owed
WHERE CASE WHEN service IN (SELECT h.service FROM heartbeat h) THEN false ELSE steps > 0 END
ORDER BY 1;
