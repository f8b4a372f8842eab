-- I3: a user's periods never overlap, and a user has one payment in_processing at a time.
SELECT count(*) FROM subscriptions;

SELECT a.id, 'overlaps ' || b.id || ' of user ' || a.user_id
FROM subscriptions a JOIN subscriptions b ON b.user_id = a.user_id AND a.id < b.id
WHERE a.starts_at < b.ends_at AND b.starts_at < a.ends_at
  AND a.starts_at < a.ends_at AND b.starts_at < b.ends_at
ORDER BY 1;

-- The intervals, in the order of events.seq: how many of the user are inside after each step.
SELECT count(*) FROM events
WHERE subject = 'payment' AND to_status = 'in_processing';

WITH steps AS MATERIALIZED (
    SELECT e.seq, e.subject_id, p.user_id,
           CASE WHEN e.to_status = 'in_processing' THEN 1 ELSE -1 END AS step
    FROM payments p CROSS JOIN events e
    WHERE e.subject_id = CAST(p.id AS text) AND e.subject = 'payment'
      AND (coalesce(e.to_status, '') = 'in_processing')
       <> (coalesce(e.from_status, '') = 'in_processing')
), inside AS MATERIALIZED (
    SELECT seq, subject_id, user_id, step,
           sum(step) OVER (PARTITION BY user_id ORDER BY seq) AS payments
    FROM steps
)
SELECT subject_id,
       'user ' || user_id || ' has ' || payments || ' payments in_processing since event ' || seq
FROM inside WHERE step = 1 AND payments > 1
UNION ALL
SELECT CAST(p.id AS text),
       'user ' || p.user_id || ' has another payment in_processing now: ' || o.id
FROM payments p JOIN payments o ON o.user_id = p.user_id AND o.seq < p.seq
WHERE p.processing_status = 'in_processing' AND o.processing_status = 'in_processing'
ORDER BY 1;
