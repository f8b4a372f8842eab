-- The tables as they are declared; docs/migrations.md says what for.

-- The books (contract section 6) and the embedded queue (section 7). Ids are lower-case UUID texts,
-- times are texts YYYY-MM-DDTHH:MM:SS.ffffffZ, so that text order is time order. CHECKs say OR and
-- not IN, because SQLite makes a table of every list of three for every row that it checks: then
-- payments take four times as long.

-- One row per user: the lock under which everything about the user is decided, and the work lists.
CREATE TABLE accounts (
    user_id        TEXT NOT NULL PRIMARY KEY,
    version        INTEGER NOT NULL DEFAULT 0, -- bumped whenever the lock is taken for a change
    in_flight      INTEGER NULL, -- seq of the payment in_processing
    pending_seq    INTEGER NULL, -- no payment below this seq is new; null: none is
    due_at         TEXT NULL,    -- processor: claim, or ask again when in flight, from then on
    tell_seq       INTEGER NULL, -- no payment below this seq is processed; null: none is
    tell_due_at    TEXT NULL,    -- notifier: tell the user from then on
    active_from    TEXT NULL,    -- [active_from, active_until): unbroken cover up to the end of the
    active_until   TEXT NULL,    --   last period: the answer to "subscribed?"
    period_payment TEXT NULL     -- the payment behind the last period, null for a grant
) STRICT; -- with rowids: users who come together lie together, so a batch of them dirties few pages
CREATE INDEX accounts_claim ON accounts (due_at) WHERE in_flight IS NULL AND due_at IS NOT NULL;
CREATE INDEX accounts_ask ON accounts (due_at) WHERE in_flight IS NOT NULL;
CREATE INDEX accounts_tell ON accounts (tell_due_at) WHERE tell_due_at IS NOT NULL;

CREATE TABLE payments (
    seq               INTEGER PRIMARY KEY, -- order of storing; decides which request is the latest
    id                TEXT NOT NULL UNIQUE,
    user_id           TEXT NOT NULL REFERENCES accounts (user_id),
    payment_type      TEXT NOT NULL CHECK (payment_type IN ('payment', 'refund')),
    subscription_type TEXT NOT NULL CHECK (subscription_type = 'month'
        OR subscription_type = 'three_months' OR subscription_type = 'year'),
    processing_status TEXT NOT NULL DEFAULT 'new',
    payment_status    TEXT NOT NULL DEFAULT 'unknown',
    payment_date      TEXT NOT NULL, -- request time
    stored_at         TEXT NOT NULL,
    recorded_at       TEXT NULL,     -- timestamp of the queue's record
    amount            INTEGER NULL CHECK (amount > 0),
    currency          TEXT NULL,
    payment_method    TEXT NULL,     -- opaque, goes to the processing only
    actor             TEXT NULL,     -- who in support asked; null: the user
    expiration_date   TEXT NULL,
    duplicate_of      TEXT NULL,
    refund_of         TEXT NULL,     -- while new: what support named; from the claim on: the target
    refunding         TEXT NULL,     -- = refund_of while this refund is in flight or accepted
    reason            TEXT NULL,
    processing_id     TEXT NULL,     -- the processing's own transaction id
    action_url        TEXT NULL,     -- pending: the payer's page
    action_expires_at TEXT NULL,
    needs_decision    INTEGER NOT NULL DEFAULT 0,
    notification      TEXT NULL CHECK (notification = 'delivered' OR notification = 'unreachable'
        OR notification = 'not_to_be_told'),
    ask_first         INTEGER NOT NULL DEFAULT 0, -- rule 11: n > 0: while it is new, it is asked
                                   -- about before it is decided, and n - 1 questions had no answer
    CHECK ((payment_status = 'unknown' AND (processing_status = 'new'
            OR processing_status = 'in_processing' OR processing_status = 'duplicated'))
        OR ((payment_status = 'accepted' OR payment_status = 'decline' OR payment_status = 'error')
            AND (processing_status = 'processed' OR processing_status = 'completed'))),
    CHECK ((amount IS NULL) = (currency IS NULL)),
    CHECK ((notification IS NOT NULL) = (processing_status = 'completed')),
    CHECK (duplicate_of IS NULL OR processing_status = 'duplicated'),
    CHECK (refunding IS NULL OR refunding = refund_of)
) STRICT;
CREATE INDEX payments_user ON payments (user_id, seq);
-- At most one refund per payment is in flight or accepted (rule 5).
CREATE UNIQUE INDEX payments_refunding ON payments (refunding) WHERE refunding IS NOT NULL;
CREATE INDEX payments_needs_decision ON payments (seq) WHERE needs_decision <> 0;

-- What was sent, byte for byte, stored before it is sent. One per payment: its key is the payment's
-- id.
CREATE TABLE attempts (
    seq           INTEGER PRIMARY KEY REFERENCES payments (seq),
    body          TEXT NOT NULL,
    instance_id   TEXT NOT NULL DEFAULT '', -- of the processing that was asked
    first_sent_at TEXT NOT NULL,
    tries         INTEGER NOT NULL DEFAULT 0, -- calls that ended without an answer
    ask_only      INTEGER NOT NULL DEFAULT 0, -- a repeat was refused: never send it again
    last_try_at   TEXT NULL,
    note          TEXT NULL,
    pending_since TEXT NULL, -- rule 8: when the processing first said that it waits for the payer
    -- Rule 6: when the first call was made, by a clock that does not step and counts sleep, of the run
    -- of a kernel that boot_id names; '' and null: not known, the store's clock is all there is.
    boot_id       TEXT NOT NULL DEFAULT '',
    sent_boot_us  INTEGER NULL,
    too_old       INTEGER NOT NULL DEFAULT 0 -- to be repeated; that stays, whatever clocks say later
) STRICT;

CREATE TABLE subscriptions (
    id                TEXT PRIMARY KEY,
    user_id           TEXT NOT NULL REFERENCES accounts (user_id),
    payment_id        TEXT NULL UNIQUE REFERENCES payments (id), -- null: a grant
    subscription_type TEXT NOT NULL CHECK (subscription_type = 'month'
        OR subscription_type = 'three_months' OR subscription_type = 'year'),
    starts_at         TEXT NOT NULL,
    expiration_date   TEXT NOT NULL,
    ends_at           TEXT NOT NULL,
    end_reason        TEXT NULL CHECK (end_reason IN ('refund', 'admin')),
    CHECK (ends_at >= starts_at)
) STRICT, WITHOUT ROWID;
-- "The user's last period" is the first by starts_at, ends_at, id, all descending; ids are
-- time-ordered.
CREATE INDEX subscriptions_user ON subscriptions (user_id, starts_at);

-- A user's periods [starts_at, ends_at) never overlap; an empty one overlaps nothing.
CREATE TRIGGER subscriptions_insert_no_overlap BEFORE INSERT ON subscriptions
WHEN EXISTS (SELECT 1 FROM subscriptions o
             WHERE o.user_id = NEW.user_id AND o.id <> NEW.id
               AND o.starts_at < NEW.ends_at AND NEW.starts_at < o.ends_at
               AND o.starts_at < o.ends_at AND NEW.starts_at < NEW.ends_at)
BEGIN
    SELECT RAISE(ABORT, 'periods of a user overlap');
END;
CREATE TRIGGER subscriptions_update_no_overlap BEFORE UPDATE ON subscriptions
WHEN EXISTS (SELECT 1 FROM subscriptions o
             WHERE o.user_id = NEW.user_id AND o.id <> NEW.id
               AND o.starts_at < NEW.ends_at AND NEW.starts_at < o.ends_at
               AND o.starts_at < o.ends_at AND NEW.starts_at < NEW.ends_at)
BEGIN
    SELECT RAISE(ABORT, 'periods of a user overlap');
END;

-- (Keys first: in a table WITHOUT ROWID another order makes integrity_check of SQLite 3.40 see
-- NULLs.)
CREATE TABLE subscription_cost (
    subscription_type TEXT NOT NULL CHECK (subscription_type = 'month'
        OR subscription_type = 'three_months' OR subscription_type = 'year'),
    starting_date     TEXT NOT NULL, -- YYYY-MM-DD, in force from 00:00 UTC
    cost              INTEGER NOT NULL CHECK (cost > 0),
    currency          TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    PRIMARY KEY (subscription_type, starting_date)
) STRICT, WITHOUT ROWID;
INSERT INTO subscription_cost (subscription_type, cost, currency, starting_date) VALUES
    ('month', 39900, 'RUB', '2020-01-01'),
    ('three_months', 99900, 'RUB', '2020-01-01'),
    ('year', 299900, 'RUB', '2020-01-01');

-- What happened; everything above can be recomputed from it. Rows are only added.
--   payment moves: from_status null → 'new' when stored; detail {"duplicate_of","reason","refund_of",
--     "amount","currency","expiration_date","notification"} as far as the move sets them
--   subscription: to_status 'active' when opened, 'ended' when ended early; detail {"user_id",
--     "payment_id","subscription_type","starts_at","expiration_date","ends_at","end_reason"} as they
--     are afterwards
--   price: to_status 'added' or 'deleted'; subject_id TYPE/DATE
--   alarms: from_status, to_status and payment_status null, detail {"alarm":…}: "contradiction"
--     with "outcome"; "damaged" with "user_id" and "note"
--   payment_status is the one after the move; actor: saver, processor, notifier
CREATE TABLE events (
    seq            INTEGER PRIMARY KEY, -- grows, because rows are only added
    at             TEXT NOT NULL,
    subject        TEXT NOT NULL CHECK (subject = 'payment' OR subject = 'subscription'
        OR subject = 'price'),
    subject_id     TEXT NOT NULL,
    actor          TEXT NOT NULL,
    from_status    TEXT NULL,
    to_status      TEXT NULL,
    payment_status TEXT NULL,
    detail         TEXT NULL
) STRICT;
CREATE INDEX events_subject ON events (subject_id, seq);
CREATE INDEX events_alarms ON events (seq) WHERE to_status IS NULL;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are only added');
END;

-- Up to where each log has been taken; moved in the transaction that stores the rows.
CREATE TABLE positions (
    topic      TEXT NOT NULL,
    partition  INTEGER NOT NULL,
    partitions INTEGER NOT NULL,
    next       INTEGER NOT NULL, -- the first offset that was not taken
    log_id     TEXT NOT NULL,
    checksum   INTEGER NOT NULL, -- of the last record taken, 0: none
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- The embedded queue; one partition, 0, per topic.
CREATE TABLE queue_topics (
    id     INTEGER PRIMARY KEY,
    topic  TEXT NOT NULL UNIQUE,
    log_id TEXT NOT NULL, -- made with the topic
    next   INTEGER NOT NULL DEFAULT 0 -- offset of the next record
) STRICT;
CREATE TABLE queue_records (
    topic_id     INTEGER NOT NULL REFERENCES queue_topics (id),
    offset       INTEGER NOT NULL,
    timestamp_us INTEGER NOT NULL, -- since 1970, microseconds
    key          BLOB NULL,
    value        BLOB NULL,
    headers      TEXT NULL, -- JSON object of texts
    PRIMARY KEY (topic_id, offset)
) STRICT, WITHOUT ROWID;

-- Rule 11: up to where the journal of each instance of the processing has been compared.
CREATE TABLE journal_positions (
    instance_id TEXT NOT NULL PRIMARY KEY,
    seq         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Users about whom a reading of the journal that is not complete has said something: nobody decides
-- about them meanwhile. Empty outside of readings.
CREATE TABLE learning (
    user_id    TEXT NOT NULL PRIMARY KEY REFERENCES accounts (user_id),
    rewound    INTEGER NOT NULL DEFAULT 0, -- these books do not know what they had sent
    latest_seq INTEGER NULL, -- of the payments recorded or adopted: it stands for the older ones
    held_seq   INTEGER NULL, -- settled: what waited, below held_below, is looked at afterwards
    held_below INTEGER NULL
) STRICT, WITHOUT ROWID;

-- Rule 8: users with newer requests behind a payment that waits for its payer: a claim looks at them.
CREATE TABLE paged (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES accounts (user_id)
) STRICT, WITHOUT ROWID;

-- Rule 11, `subpay restored`: records below this offset may have been sent by the lost books.
CREATE TABLE restored (
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    below     INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- "I am alive and up to date": by service.
CREATE TABLE heartbeats (
    service TEXT NOT NULL PRIMARY KEY,
    at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Rule 11: the journal has shown that the books were rewound; nobody sends before it was read again,
-- by a reading that began PROCESSING_TIMEOUT_MS later. One row at most; a new id each time.
CREATE TABLE rewound (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL,
    at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
