-- I10: the events, replayed, give the current payments and periods.
SELECT count(*) FROM payments;

-- Each field is set by one move and stays; the statuses are those of the last move.
WITH folded AS MATERIALIZED (
    SELECT p.seq, max(e.seq) AS last_seq,
           max(e.detail ->> 'duplicate_of') AS duplicate_of,
           max(e.detail ->> 'reason') AS reason,
           max(e.detail ->> 'refund_of') AS refund_of,
           max(CAST(e.detail ->> 'amount' AS bigint)) AS amount,
           max(e.detail ->> 'currency') AS currency,
           max(e.detail ->> 'expiration_date') AS expiration_date,
           max(e.detail ->> 'notification') AS notification
    FROM payments p LEFT JOIN events e
      ON e.subject_id = CAST(p.id AS text) AND e.subject = 'payment' AND e.to_status IS NOT NULL
    GROUP BY p.seq
)
SELECT CAST(p.id AS text) AS id,
       CASE WHEN e.seq IS NULL THEN 'has no events'
            ELSE 'is ' || p.processing_status || '/' || p.payment_status || ', its events give '
                 || e.to_status || '/' || coalesce(e.payment_status, '-')
                 || ', or another detail' END AS what
FROM folded f
JOIN payments p ON p.seq = f.seq
LEFT JOIN events e ON e.seq = f.last_seq
WHERE e.to_status IS DISTINCT FROM p.processing_status
   OR e.payment_status IS DISTINCT FROM p.payment_status
   OR f.duplicate_of IS DISTINCT FROM CAST(p.duplicate_of AS text)
   OR f.reason IS DISTINCT FROM p.reason
   OR f.refund_of IS DISTINCT FROM CAST(p.refund_of AS text)
   OR f.amount IS DISTINCT FROM p.amount
   OR f.currency IS DISTINCT FROM p.currency
   OR f.expiration_date IS DISTINCT FROM p.expiration_date
   OR f.notification IS DISTINCT FROM p.notification
UNION ALL
SELECT DISTINCT subject_id, 'has events, and is not in payments'
FROM events
WHERE subject = 'payment' AND to_status IS NOT NULL
  AND subject_id NOT IN (SELECT CAST(id AS text) FROM payments)
ORDER BY 1, 2;

SELECT count(*) FROM subscriptions;

-- An event of a subscription tells all of it as it is afterwards.
SELECT CAST(s.id AS text) AS id,
       CASE WHEN e.seq IS NULL THEN 'has no events'
            ELSE s.starts_at || ' … ' || s.ends_at || ', its events give '
                 || coalesce(e.detail ->> 'starts_at', '-') || ' … '
                 || coalesce(e.detail ->> 'ends_at', '-') || ', or another detail' END AS what
FROM subscriptions s LEFT JOIN events e
  ON e.seq = (SELECT max(l.seq) FROM events l
              WHERE l.subject_id = CAST(s.id AS text) AND l.subject = 'subscription'
                AND l.to_status IS NOT NULL)
WHERE e.detail ->> 'user_id' IS DISTINCT FROM CAST(s.user_id AS text)
   OR e.detail ->> 'payment_id' IS DISTINCT FROM CAST(s.payment_id AS text)
   OR e.detail ->> 'subscription_type' IS DISTINCT FROM s.subscription_type
   OR e.detail ->> 'starts_at' IS DISTINCT FROM s.starts_at
   OR e.detail ->> 'expiration_date' IS DISTINCT FROM s.expiration_date
   OR e.detail ->> 'ends_at' IS DISTINCT FROM s.ends_at
   OR e.detail ->> 'end_reason' IS DISTINCT FROM s.end_reason
   OR (e.to_status = 'ended') IS DISTINCT FROM (s.end_reason IS NOT NULL)
UNION ALL
SELECT DISTINCT subject_id, 'has events, and is not in subscriptions'
FROM events
WHERE subject = 'subscription' AND to_status IS NOT NULL
  AND subject_id NOT IN (SELECT CAST(id AS text) FROM subscriptions)
ORDER BY 1, 2;
