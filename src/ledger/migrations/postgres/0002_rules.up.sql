-- compatible_from: 2
-- What the rest of the rules needs. A program that does not know it would send what has to be asked
-- about first, so none older than this may run on it.

-- Rule 8: when the processing first said that it waits for the payer; null: it never did.
ALTER TABLE attempts ADD COLUMN pending_since timestamptz NULL;

-- Rule 11: n > 0: while it is new, it is asked about before it is decided, and n - 1 questions had
-- no answer.
ALTER TABLE payments ADD COLUMN ask_first integer NOT NULL DEFAULT 0;

-- Rule 11: up to where the journal of each instance of the processing has been compared.
CREATE TABLE journal_positions (
    instance_id text NOT NULL PRIMARY KEY,
    seq         bigint NOT NULL
);

-- Users about whom a reading of the journal that is not complete has said something: nobody decides
-- about them meanwhile. Empty outside of readings.
CREATE TABLE learning (
    user_id    uuid NOT NULL PRIMARY KEY,
    rewound    integer NOT NULL DEFAULT 0, -- these books do not know what they had sent
    latest_seq bigint NULL, -- of the payments recorded or adopted: it stands for the older ones
    held_seq   bigint NULL, -- settled: what waited, below held_below, is looked at afterwards
    held_below bigint NULL
);

-- Rule 8: users with newer requests behind a payment that waits for its payer: a claim looks at them.
CREATE TABLE paged (
    user_id uuid NOT NULL PRIMARY KEY
);

-- Rule 11, `subpay restored`: records below this offset may have been sent by the lost books.
CREATE TABLE restored (
    topic     text NOT NULL,
    partition bigint NOT NULL,
    below     bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- "I am alive and up to date": by service.
CREATE TABLE heartbeats (
    service text NOT NULL PRIMARY KEY,
    at      timestamptz NOT NULL
) WITH (fillfactor = 50);
