#include "ledger/copy_tables.h"

#include <string.h>

#define INSERT(table)                                                                              \
    "INSERT INTO " table " SELECT * FROM json_populate_recordset(NULL::" table ", ?1::json)"
#define BY_KEY(table, key) "SELECT * FROM " table " WHERE " key " > ?1 ORDER BY " key " LIMIT ?2"

#define KEYED(table, order, key, is_number)                                                        \
    {                                                                                              \
        .name = (table), .read = "SELECT * FROM " table " ORDER BY " order,                        \
        .insert = INSERT(table), .page = BY_KEY(table, key), .keys = {                             \
            {key, is_number}                                                                       \
        }                                                                                          \
    }
#define WHOLE(table, order)                                                                        \
    {                                                                                              \
        .name = (table), .read = "SELECT * FROM " table " ORDER BY " order,                        \
        .insert = INSERT(table), .page = "SELECT * FROM " table " ORDER BY " order                 \
    }

const struct copy_table COPY_TABLES[] = {
    KEYED("accounts", "rowid", "user_id", false), /* as they came */
    {.name = "payments",
     .read = "SELECT * FROM payments ORDER BY seq",
     .insert = INSERT("payments"),
     .page = "SELECT * FROM payments WHERE (user_id, seq) > (?1, ?2) ORDER BY user_id, seq "
             "LIMIT ?3",
     .keys = {{"user_id", false}, {"seq", true}}},
    KEYED("subscriptions", "id", "id", false),
    KEYED("attempts", "seq", "seq", true),
    KEYED("events", "seq", "seq", true),
    KEYED("learning", "user_id", "user_id", false),
    KEYED("paged", "user_id", "user_id", false),
    WHOLE("subscription_cost", "subscription_type, starting_date"),
    WHOLE("journal_positions", "instance_id"),
    WHOLE("rewound", "id"),
};
const size_t COPY_TABLE_COUNT = sizeof COPY_TABLES / sizeof COPY_TABLES[0];

static const char *const NOT_COPIED[] = {"positions",     "restored",     "heartbeats",
                                         "queue_records", "queue_topics", "schema_migrations"};

#define ANY(table) "SELECT '" table "' FROM " table " LIMIT 1"
const char *const COPY_EMPTY[] = {ANY("accounts"), ANY("payments"),  ANY("subscriptions"),
                                  ANY("attempts"), ANY("events"),    ANY("learning"),
                                  ANY("paged"),    ANY("positions"), ANY("journal_positions"),
                                  ANY("restored"), ANY("rewound")};
const size_t COPY_EMPTY_COUNT = sizeof COPY_EMPTY / sizeof COPY_EMPTY[0];

#define NUMBERS(table)                                                                             \
    "SELECT setval(pg_get_serial_sequence('" table "', 'seq'), "                                   \
    "(SELECT coalesce(max(seq), 0) + 1 FROM " table "), false)"
const char *const COPY_SEQUENCES[] = {NUMBERS("payments"), NUMBERS("events")};
const size_t COPY_SEQUENCE_COUNT = sizeof COPY_SEQUENCES / sizeof COPY_SEQUENCES[0];

const char COPY_LOCK[] =
    "LOCK TABLE accounts, payments, subscriptions, attempts, events, learning, paged, positions, "
    "journal_positions, restored, rewound, subscription_cost IN EXCLUSIVE MODE";
const char COPY_ANALYZE[] = "ANALYZE accounts; ANALYZE payments; ANALYZE subscriptions; "
                            "ANALYZE attempts; ANALYZE events";

bool copy_table_known(const char *name)
{
    for (size_t i = 0; i < COPY_TABLE_COUNT; i++)
        if (strcmp(COPY_TABLES[i].name, name) == 0)
            return true;
    for (size_t i = 0; i < sizeof NOT_COPIED / sizeof NOT_COPIED[0]; i++)
        if (strcmp(NOT_COPIED[i], name) == 0)
            return true;
    return false;
}
