-- Payments :first to :last with all that the ledger writes of them, as bench/filled.h names them. 100,000
-- payments are of 20,000 users, five each, 40 days apart, in the order of their requests. Of five users one
-- was declined once, and one asked twice more while three months ran. Every life is over: all are told, and
-- nobody's subscription runs any more. No refunds.
SET TimeZone = 'UTC';
BEGIN;
CREATE TEMPORARY TABLE filled ON COMMIT DROP AS
SELECT n, id, user_id, life, at, kind, starts_at, ends_at,
       CASE kind WHEN 'three_months' THEN 99900 ELSE 39900 END AS amount,
       to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS asked,
       to_char(starts_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS starts,
       to_char(ends_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS ends,
       first_value(id) OVER (PARTITION BY user_id ORDER BY n) AS earlier
FROM (SELECT n, turn, at,
             CAST(overlay(lpad(to_hex(1700000000000 + n * 8640), 12, '0') PLACING '-' FROM 9 FOR 0)
                  || '-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid) AS id,
             CAST(lpad(to_hex(who * 2654435761 % 4294967296), 8, '0')
                  || '-0000-4000-8000-' || lpad(to_hex(who), 12, '0') AS uuid) AS user_id,
             CASE WHEN who % 5 = 2 AND turn IN (1, 2) THEN 'duplicated'
                  WHEN who % 5 = 3 AND turn = 1 THEN 'decline' ELSE 'accepted' END AS life,
             CASE WHEN who % 5 = 2 AND turn = 0 THEN 'three_months' ELSE 'month' END AS kind
      FROM (SELECT CAST(n AS bigint) AS n, CAST((n - 1) / 100000 * 20000 + (n - 1) % 20000 + 1 AS bigint) AS who,
                   CAST((n - 1) % 100000 / 20000 AS integer) AS turn,
                   date_trunc('day', now()) - interval '300 days'
                   + (n - 1) % 100000 * interval '172.8 seconds' AS at
            FROM generate_series(CAST(:first AS bigint), :last) AS n) AS numbers) AS named
CROSS JOIN LATERAL (SELECT at + interval '50 milliseconds' AS starts_at) AS start
CROSS JOIN LATERAL (SELECT starts_at + CASE kind WHEN 'three_months' THEN interval '3 months'
                                       ELSE interval '1 month' END AS ends_at) AS period;

INSERT INTO payments (id, user_id, payment_type, subscription_type, processing_status, payment_status,
                      payment_date, stored_at, recorded_at, amount, currency, expiration_date, duplicate_of,
                      processing_id, notification)
SELECT id, user_id, 'payment', kind, CASE life WHEN 'duplicated' THEN life ELSE 'completed' END,
       CASE life WHEN 'duplicated' THEN 'unknown' ELSE life END, at, at + interval '5 milliseconds',
       at + interval '1 millisecond', amount, 'RUB', CASE life WHEN 'accepted' THEN ends_at END,
       CASE life WHEN 'duplicated' THEN earlier END,
       CASE WHEN life <> 'duplicated' THEN CAST(id AS text) END,
       CASE WHEN life <> 'duplicated' THEN 'delivered' END
FROM filled ORDER BY n;

INSERT INTO attempts (seq, body, instance_id, first_sent_at, sent_boot_us)
SELECT p.seq, format('{"payment_id":"%s","user_id":"%s","payment_type":"payment","subscription_type":"%s",'
                     '"requested_at":"%s","amount":%s,"currency":"RUB"}', f.id, f.user_id, f.kind, f.asked,
                     f.amount),
       'bench', f.at + interval '20 milliseconds', 0
FROM filled f JOIN payments p ON p.id = f.id WHERE f.life <> 'duplicated' ORDER BY f.n;

INSERT INTO subscriptions (id, user_id, payment_id, subscription_type, starts_at, expiration_date, ends_at)
SELECT CAST(overlay(CAST(id AS text) PLACING '9' FROM 20 FOR 1) AS uuid), user_id, id, kind,
       starts_at, ends_at, ends_at
FROM filled WHERE life = 'accepted' ORDER BY n;

INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, payment_status, detail)
SELECT at + e.after * interval '1 millisecond', e.subject, e.id, e.actor, e.was, e.now, e.status, e.detail
FROM filled CROSS JOIN LATERAL (VALUES
    (5, 'payment', CAST(id AS text), 'saver', NULL, 'new', 'unknown',
     jsonb_build_object('amount', amount, 'currency', 'RUB'), true),
    (20, 'payment', CAST(id AS text), 'processor', 'new', 'in_processing', 'unknown', NULL, life <> 'duplicated'),
    (20, 'payment', CAST(id AS text), 'processor', 'new', 'duplicated', 'unknown',
     jsonb_build_object('duplicate_of', earlier), life = 'duplicated'),
    (50, 'subscription', overlay(CAST(id AS text) PLACING '9' FROM 20 FOR 1), 'processor', NULL, 'active', NULL,
     jsonb_build_object('ends_at', ends, 'user_id', user_id, 'starts_at', starts, 'payment_id', id,
                        'expiration_date', ends, 'subscription_type', kind),
     life = 'accepted'),
    (50, 'payment', CAST(id AS text), 'processor', 'in_processing', 'processed', life,
     jsonb_build_object('expiration_date', ends), life = 'accepted'),
    (50, 'payment', CAST(id AS text), 'processor', 'in_processing', 'processed', life, NULL, life = 'decline'),
    (90, 'payment', CAST(id AS text), 'notifier', 'processed', 'completed', life,
     '{"notification": "delivered"}', life <> 'duplicated')
) AS e (after, subject, id, actor, was, now, status, detail, happened)
WHERE e.happened ORDER BY n, e.after;

-- The last of five is always accepted.
INSERT INTO accounts (user_id, version, active_from, active_until, period_payment)
SELECT user_id, 25, starts_at, ends_at, id
FROM filled WHERE (n - 1) % 100000 >= 80000 ORDER BY n;
COMMIT;
