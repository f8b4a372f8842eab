-- I4: statuses are a legal pair, and a payment's events form a legal path that ends in them.
-- Alarms, events without from_status and to_status, move nothing.
SELECT count(*) FROM payments;

WITH moves AS MATERIALIZED (
    SELECT seq, subject_id, from_status, to_status, payment_status,
           lag(seq) OVER path AS previous_seq,
           lag(to_status) OVER path AS previous_status,
           lag(payment_status) OVER path AS previous_payment_status,
           lead(seq) OVER path AS next_seq
    FROM events
    WHERE subject = 'payment' AND (from_status IS NOT NULL OR to_status IS NOT NULL)
    WINDOW path AS (PARTITION BY subject_id ORDER BY seq)
), legal_moves (from_status, to_status) AS (
    VALUES ('new', 'in_processing'), ('new', 'processed'), ('new', 'duplicated'),
           ('in_processing', 'processed'), ('processed', 'completed')
), legal_pairs (processing_status, payment_status) AS (
    VALUES ('new', 'unknown'), ('in_processing', 'unknown'), ('duplicated', 'unknown'),
           ('processed', 'accepted'), ('processed', 'decline'), ('processed', 'error'),
           ('completed', 'accepted'), ('completed', 'decline'), ('completed', 'error')
)
SELECT CAST(p.id AS text) AS id, 'is ' || p.processing_status || '/' || p.payment_status AS what
FROM payments p LEFT JOIN legal_pairs l
  ON l.processing_status = p.processing_status AND l.payment_status = p.payment_status
WHERE l.payment_status IS NULL
UNION ALL
SELECT CAST(p.id AS text), 'is ' || p.processing_status || '/' || p.payment_status
       || ', its events end in '
       || coalesce(e.to_status || '/' || coalesce(e.payment_status, '-'), 'nothing')
FROM payments p LEFT JOIN moves e ON e.subject_id = p.id AND e.next_seq IS NULL
WHERE e.to_status IS DISTINCT FROM p.processing_status
   OR e.payment_status IS DISTINCT FROM p.payment_status
UNION ALL
SELECT m.subject_id, 'event ' || m.seq || ' moves ' || coalesce(m.from_status, 'nothing') || ' to '
       || coalesce(m.to_status, 'nothing') || ' after ' || coalesce(m.previous_status, 'nothing')
FROM moves m LEFT JOIN legal_moves l ON l.from_status = m.from_status AND l.to_status = m.to_status
WHERE CASE WHEN m.previous_seq IS NULL THEN m.from_status IS NOT NULL OR m.to_status <> 'new'
           ELSE m.from_status IS DISTINCT FROM m.previous_status OR l.to_status IS NULL END
UNION ALL
SELECT m.subject_id, 'event ' || m.seq || ' says ' || coalesce(m.to_status, 'nothing') || '/'
       || coalesce(m.payment_status, '-')
FROM moves m LEFT JOIN legal_pairs l
  ON l.processing_status = m.to_status AND l.payment_status = m.payment_status
WHERE l.payment_status IS NULL
   OR (m.to_status = 'completed' AND m.payment_status IS DISTINCT FROM m.previous_payment_status)
UNION ALL
SELECT m.subject_id, 'event ' || m.seq || ' is about a payment that is not there'
FROM moves m WHERE NOT EXISTS (SELECT 1 FROM payments p WHERE p.id = m.subject_id)
ORDER BY 1, 2;
