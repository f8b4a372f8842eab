DROP TABLE heartbeats;
DROP TABLE restored;
DROP TABLE paged;
DROP TABLE learning;
DROP TABLE journal_positions;
ALTER TABLE payments DROP COLUMN ask_first;
ALTER TABLE attempts DROP COLUMN pending_since;
