DROP TABLE rewound;
ALTER TABLE attempts DROP COLUMN too_old;
ALTER TABLE attempts DROP COLUMN sent_boot_us;
ALTER TABLE attempts DROP COLUMN boot_id;
