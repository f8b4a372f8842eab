-- I5: accepted payments have one period, periods a payment or a grant, early ends a cause.
SELECT (SELECT count(*) FROM payments
        WHERE payment_type = 'payment' AND payment_status = 'accepted')
     + (SELECT count(*) FROM subscriptions);

WITH paid AS MATERIALIZED (
    SELECT p.id, (SELECT count(*) FROM subscriptions s WHERE s.payment_id = p.id) AS periods
    FROM payments p WHERE p.payment_type = 'payment' AND p.payment_status = 'accepted'
)
SELECT CAST(id AS text) AS id, 'accepted, and has ' || periods || ' periods' AS what
FROM paid WHERE periods <> 1
UNION ALL
SELECT CAST(s.id AS text), 'period of payment ' || s.payment_id || ', which is '
       || coalesce(p.payment_type || ' ' || p.payment_status || ' of user ' || p.user_id || ' for '
                   || p.subscription_type, 'not there')
FROM subscriptions s LEFT JOIN payments p ON p.id = s.payment_id
WHERE s.payment_id IS NOT NULL
  AND (p.id IS NULL OR p.payment_type <> 'payment' OR p.payment_status <> 'accepted'
       OR p.user_id <> s.user_id OR p.subscription_type <> s.subscription_type)
UNION ALL
SELECT CAST(s.id AS text), 'has neither a payment nor an admin event'
FROM subscriptions s
WHERE s.payment_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM events e
                  WHERE e.subject_id = CAST(s.id AS text) AND e.subject = 'subscription'
                    AND e.to_status = 'active'
                    AND (e.actor LIKE 'admin:%' OR e.actor LIKE 'operator:%'))
UNION ALL
SELECT CAST(s.id AS text), 'ends early without an accepted refund or an admin event'
FROM subscriptions s
WHERE (s.ends_at < s.expiration_date OR s.end_reason IS NOT NULL)
  AND (s.payment_id IS NULL
       OR s.payment_id NOT IN (SELECT r.refund_of FROM payments r
                               WHERE r.payment_type = 'refund' AND r.payment_status = 'accepted'
                                 AND r.refund_of IS NOT NULL))
  AND NOT EXISTS (SELECT 1 FROM events e
                  WHERE e.subject_id = CAST(s.id AS text) AND e.subject = 'subscription'
                    AND e.to_status = 'ended'
                    AND (e.actor LIKE 'admin:%' OR e.actor LIKE 'operator:%'))
UNION ALL
SELECT CAST(s.id AS text), 'ends at ' || s.ends_at || ', expires at ' || s.expiration_date
       || ', end_reason ' || coalesce(s.end_reason, 'none')
FROM subscriptions s
WHERE s.ends_at > s.expiration_date OR (s.ends_at < s.expiration_date AND s.end_reason IS NULL)
ORDER BY 1, 2;
