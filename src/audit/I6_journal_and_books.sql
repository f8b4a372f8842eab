-- I6: every success in the journal is in the books, and what the books say is in the journal.
-- Compared per instance of the processing.
-- Journal to books: lines that were there before the books were read. A person's decision that the
-- processing contradicts is broken until the charge is given back. Needs the journal.
SELECT count(*) FROM journal WHERE result = 'success' AND late = 0;

WITH books AS MATERIALIZED (
    SELECT CAST(p.id AS text) AS id, CAST(p.user_id AS text) AS user_id, p.payment_type,
           p.processing_status, p.payment_status, p.amount, p.currency,
           coalesce(p.reason = 'decided' AND p.payment_status <> 'accepted', false) AS refused,
           coalesce(a.instance_id <> '' AND i.instance_id <> '' AND a.instance_id <> i.instance_id,
                    false) AS elsewhere
    FROM payments p CROSS JOIN instance i LEFT JOIN attempts a ON a.seq = p.seq
)
SELECT j.key, 'journal line ' || j.seq || ' executed it, and '
       || CASE WHEN b.id IS NULL THEN 'the books do not know it'
               WHEN b.user_id IS DISTINCT FROM j.user_id
                 OR b.payment_type IS DISTINCT FROM j.payment_type
                 OR b.amount IS DISTINCT FROM j.amount
                 OR b.currency IS DISTINCT FROM j.currency
               THEN 'in the books it has another user, type or amount'
               WHEN b.refused THEN 'a person decided that it is ' || b.payment_status
                    || ': to be given back'
               ELSE 'in the books it is ' || b.processing_status || '/' || b.payment_status END
FROM journal j LEFT JOIN books b ON b.id = j.key
WHERE j.result = 'success' AND j.late = 0
  AND CASE WHEN b.id IS NULL
           THEN j.refund_of IS NULL OR j.refund_of NOT IN (SELECT id FROM books WHERE refused)
           WHEN b.elsewhere THEN false
           WHEN b.user_id IS DISTINCT FROM j.user_id
             OR b.payment_type IS DISTINCT FROM j.payment_type
             OR b.amount IS DISTINCT FROM j.amount
             OR b.currency IS DISTINCT FROM j.currency THEN true
           WHEN b.processing_status = 'in_processing' OR b.payment_status = 'accepted' THEN false
           WHEN b.refused THEN NOT EXISTS (SELECT 1 FROM journal r
                                           WHERE r.refund_of = j.key AND r.result = 'success')
           ELSE true END
ORDER BY j.seq;

-- Books to journal, to its end. Needs the journal.
SELECT count(*) FROM payments
WHERE processing_status IN ('processed', 'completed') AND coalesce(reason, '') <> 'decided'
  AND (payment_status IN ('accepted', 'decline')
       OR seq IN (SELECT seq FROM attempts)
       OR coalesce(reason, 'refused') IN ('refused', 'not_answered', 'superseded', 'expired'));

WITH answered AS MATERIALIZED (
    SELECT CAST(p.id AS text) AS id, p.payment_status,
           CASE p.payment_status WHEN 'accepted' THEN 'success' ELSE p.payment_status END AS result
    FROM payments p CROSS JOIN instance i LEFT JOIN attempts a ON a.seq = p.seq
    WHERE p.processing_status IN ('processed', 'completed') AND coalesce(p.reason, '') <> 'decided'
      AND (p.payment_status IN ('accepted', 'decline') OR a.seq IS NOT NULL
           OR coalesce(p.reason, 'refused') IN ('refused', 'not_answered', 'superseded', 'expired'))
      AND NOT coalesce(a.instance_id <> '' AND i.instance_id <> ''
                       AND a.instance_id <> i.instance_id, false)
)
SELECT b.id, 'is ' || b.payment_status || ', and the journal has no ' || b.result || ' of it'
FROM answered b
WHERE NOT EXISTS (SELECT 1 FROM journal j WHERE j.key = b.id AND j.result = b.result)
ORDER BY 1;

-- What a person decided, with what the processing says of it. Listed, not judged.
-- (Who and why is judged.)
SELECT count(*) FROM payments WHERE reason = 'decided';

SELECT CAST(p.id AS text), 'was decided by a person: ' || p.payment_status
       || coalesce('; journal line ' || j.seq || ' says ' || j.result, '')
FROM payments p LEFT JOIN journal j
  ON j.seq = (SELECT max(l.seq) FROM journal l
              WHERE l.key = CAST(p.id AS text) AND l.result <> 'pending')
WHERE p.reason = 'decided'
ORDER BY 1;

SELECT count(*) FROM payments WHERE reason = 'decided';

SELECT CAST(p.id AS text), 'was decided, and no event names a person and the evidence'
FROM payments p
WHERE p.reason = 'decided'
  AND NOT EXISTS (SELECT 1 FROM events e
                  WHERE e.subject_id = CAST(p.id AS text) AND e.subject = 'payment'
                    AND e.to_status = 'processed' AND coalesce(e.detail ->> 'evidence', '') <> ''
                    AND (e.actor LIKE 'admin:%' OR e.actor LIKE 'operator:%'))
ORDER BY 1;

-- Sent to another instance of the processing than the one whose journal this is. Needs the journal.
-- Listed, not judged.
SELECT count(*) FROM attempts;

SELECT CAST(p.id AS text), 'was sent to another instance of the processing: ' || a.instance_id
FROM attempts a CROSS JOIN instance i JOIN payments p ON p.seq = a.seq
WHERE a.instance_id <> '' AND i.instance_id <> '' AND a.instance_id <> i.instance_id
ORDER BY a.seq;

-- Charges that a person's decision contradicts and that were given back. Listed, not judged.
SELECT count(*) FROM journal;

SELECT j.key, 'journal line ' || j.seq || ' executed it against a person''s decision, and '
       || 'journal line ' || r.seq || ' gave it back'
FROM journal r JOIN journal j ON j.key = r.refund_of AND j.result = 'success'
JOIN payments p ON CAST(p.id AS text) = j.key
WHERE r.result = 'success' AND p.reason = 'decided' AND p.payment_status <> 'accepted'
ORDER BY j.seq;
