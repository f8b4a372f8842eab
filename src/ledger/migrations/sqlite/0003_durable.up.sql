-- What must not be forgotten over a crash or a wrong clock. A program that does not know it would
-- repeat what is too old, and send while the books are not complete.

-- Rule 6: when the first call was made, by a clock that does not step and counts sleep, of the run of
-- a kernel that boot_id names; '' and null: not known, the store's clock is all there is.
ALTER TABLE attempts ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN sent_boot_us INTEGER NULL;
-- … and that it was found too old to be repeated: that stays, whatever clocks say later.
ALTER TABLE attempts ADD COLUMN too_old INTEGER NOT NULL DEFAULT 0;

-- Rule 11: the journal has shown that the books were rewound; nobody sends before it was read again,
-- by a reading that began PROCESSING_TIMEOUT_MS later. One row at most; a new id each time.
CREATE TABLE rewound (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL,
    at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
