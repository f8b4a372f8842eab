/* embed.h: files that are part of the binary (tools/embed.py): migrations, audit SQL, pages. */
#ifndef SUBPAY_BASE_EMBED_H
#define SUBPAY_BASE_EMBED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* without folders */
    const char *data; /* a NUL stands behind the last byte */
    size_t len;
};

/* ledger/: NNNN_*.up.sql, .down.sql, and schema.sql */
extern const struct embedded_file SQLITE_MIGRATION_FILES[], POSTGRES_MIGRATION_FILES[];
extern const size_t SQLITE_MIGRATION_FILES_COUNT, POSTGRES_MIGRATION_FILES_COUNT;
extern const struct embedded_file SCHEMA_OBJECTS_FILES[]; /* ledger/: schema_objects.sql alone */
extern const size_t SCHEMA_OBJECTS_FILES_COUNT;
extern const struct embedded_file AUDIT_FILES[]; /* audit/: I*.sql */
extern const size_t AUDIT_FILES_COUNT;
extern const struct embedded_file WEB_FILES[]; /* http/: the API document and its page */
extern const size_t WEB_FILES_COUNT;

#endif
