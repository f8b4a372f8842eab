-- I8: refunds of a payment never exceed what was paid.
SELECT count(*) FROM payments WHERE payment_type = 'refund' AND payment_status = 'accepted';

WITH refunds AS MATERIALIZED (
    SELECT refund_of, sum(amount) AS amount, min(currency) AS currency,
           max(currency) AS last_currency, min(CAST(id AS text)) AS refund
    FROM payments WHERE payment_type = 'refund' AND payment_status = 'accepted'
    GROUP BY refund_of
)
SELECT coalesce(CAST(r.refund_of AS text), r.refund),
       'refunded ' || coalesce(r.amount || ' ' || r.currency, 'nothing') || ', paid '
       || CASE WHEN p.seq IS NULL THEN 'nothing: the user has no such payment'
               WHEN p.payment_type <> 'payment' OR p.payment_status <> 'accepted'
               THEN 'nothing: it is a ' || p.payment_type || ', ' || p.payment_status
               ELSE p.amount || ' ' || p.currency END
FROM refunds r LEFT JOIN payments p ON p.id = r.refund_of
WHERE p.seq IS NULL OR p.payment_type <> 'payment' OR p.payment_status <> 'accepted'
   OR r.amount IS NULL OR r.amount > p.amount
   OR r.currency <> p.currency OR r.last_currency <> p.currency
ORDER BY 1;

-- Needs the journal. At once.
SELECT count(*) FROM whole_journal WHERE payment_type = 'refund' AND result = 'success';

WITH charges AS MATERIALIZED (
    SELECT key, min(amount) AS amount, min(currency) AS currency
    FROM whole_journal WHERE payment_type = 'payment' AND result = 'success' GROUP BY key
), refunds AS MATERIALIZED (
    SELECT coalesce(refund_of, '-') AS refund_of, sum(amount) AS amount,
           min(currency) AS currency, max(currency) AS last_currency, min(seq) AS seq
    FROM whole_journal WHERE payment_type = 'refund' AND result = 'success' GROUP BY refund_of
)
SELECT r.refund_of, 'the processing gave back ' || coalesce(r.amount || ' ' || r.currency, '-')
       || ' of ' || coalesce(c.amount || ' ' || c.currency, 'nothing') || ': from journal line '
       || r.seq || ' on'
FROM refunds r LEFT JOIN charges c ON c.key = r.refund_of
WHERE c.amount IS NULL OR r.amount IS NULL OR r.amount > c.amount
   OR r.currency <> c.currency OR r.last_currency <> c.currency
ORDER BY 1;
