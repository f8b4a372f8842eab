-- I7: completed payments say how the user was told; no duplicated one has an answer.
SELECT count(*) FROM payments WHERE processing_status = 'completed';

SELECT CAST(id AS text),
       'completed, and its notification is ' || coalesce(notification, 'not recorded')
FROM payments
WHERE processing_status = 'completed'
  AND coalesce(notification, '') NOT IN ('delivered', 'unreachable', 'not_to_be_told')
ORDER BY 1;

-- Needs the journal.
SELECT count(*) FROM payments WHERE processing_status = 'duplicated';

SELECT CAST(p.id AS text), 'duplicated, and journal line ' || j.seq || ' answers it ' || j.result
FROM payments p CROSS JOIN journal j
WHERE j.key = CAST(p.id AS text) AND p.processing_status = 'duplicated'
  AND j.result <> 'pending'
ORDER BY 1;
