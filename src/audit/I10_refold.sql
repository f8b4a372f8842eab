-- I10: the events, replayed, give the current payments and periods.
SELECT count(*) FROM payments;

-- A field is as the last move that sets it says; the statuses are those of the last move. Each is
-- taken behind the seq of its move, as a number of 19 digits: the greatest of them is the last one.
WITH moves AS MATERIALIZED (
    SELECT subject_id, CAST(1000000000000000000 + seq AS text) AS place, to_status, payment_status,
           detail
    FROM events WHERE subject = 'payment' AND to_status IS NOT NULL
), folded AS MATERIALIZED (
    SELECT subject_id,
           max(place || to_status || '/' || coalesce(payment_status, '-')) AS statuses,
           max(place || (detail ->> 'duplicate_of')) AS duplicate_of,
           max(place || (detail ->> 'reason')) AS reason,
           max(place || (detail ->> 'refund_of')) AS refund_of,
           max(place || (detail ->> 'amount')) AS amount,
           max(place || (detail ->> 'currency')) AS currency,
           max(place || (detail ->> 'expiration_date')) AS expiration_date,
           max(place || (detail ->> 'notification')) AS notification
    FROM moves GROUP BY subject_id
)
SELECT CAST(p.id AS text) AS id,
       CASE WHEN f.subject_id IS NULL THEN 'has no events'
            ELSE 'is ' || p.processing_status || '/' || p.payment_status || ', its events give '
                 || substr(f.statuses, 20) || ', or another detail' END AS what
FROM payments p LEFT JOIN folded f ON f.subject_id = p.id
WHERE substr(f.statuses, 20) IS DISTINCT FROM p.processing_status || '/' || p.payment_status
   OR substr(f.duplicate_of, 20) IS DISTINCT FROM p.duplicate_of
   OR substr(f.reason, 20) IS DISTINCT FROM p.reason
   OR substr(f.refund_of, 20) IS DISTINCT FROM p.refund_of
   OR substr(f.amount, 20) IS DISTINCT FROM CAST(p.amount AS text)
   OR substr(f.currency, 20) IS DISTINCT FROM p.currency
   OR substr(f.expiration_date, 20) IS DISTINCT FROM p.expiration_date
   OR substr(f.notification, 20) IS DISTINCT FROM p.notification
UNION ALL
SELECT DISTINCT e.subject_id, 'has events, and is not in payments'
FROM events e
WHERE e.subject = 'payment' AND e.to_status IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.id = e.subject_id)
ORDER BY 1, 2;

SELECT count(*) FROM subscriptions;

-- An event of a subscription tells all of it as it is afterwards.
WITH told AS MATERIALIZED (
    SELECT subject_id, max(seq) AS seq
    FROM events WHERE subject = 'subscription' AND to_status IS NOT NULL GROUP BY subject_id
)
SELECT CAST(s.id AS text) AS id,
       CASE WHEN e.seq IS NULL THEN 'has no events'
            ELSE s.starts_at || ' … ' || s.ends_at || ', its events give '
                 || coalesce(e.detail ->> 'starts_at', '-') || ' … '
                 || coalesce(e.detail ->> 'ends_at', '-') || ', or another detail' END AS what
FROM subscriptions s LEFT JOIN told t ON t.subject_id = s.id
LEFT JOIN events e ON e.seq = t.seq AND e.subject = 'subscription'
WHERE e.detail ->> 'user_id' IS DISTINCT FROM CAST(s.user_id AS text)
   OR e.detail ->> 'payment_id' IS DISTINCT FROM CAST(s.payment_id AS text)
   OR e.detail ->> 'subscription_type' IS DISTINCT FROM s.subscription_type
   OR e.detail ->> 'starts_at' IS DISTINCT FROM s.starts_at
   OR e.detail ->> 'expiration_date' IS DISTINCT FROM s.expiration_date
   OR e.detail ->> 'ends_at' IS DISTINCT FROM s.ends_at
   OR e.detail ->> 'end_reason' IS DISTINCT FROM s.end_reason
   OR (e.to_status = 'ended') IS DISTINCT FROM (s.end_reason IS NOT NULL)
UNION ALL
SELECT DISTINCT e.subject_id, 'has events, and is not in subscriptions'
FROM events e
WHERE e.subject = 'subscription' AND e.to_status IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = e.subject_id)
ORDER BY 1, 2;
