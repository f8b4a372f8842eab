/* A backup of the simulated store, and its way back (rule 11). The copy lies beside the store on its one connection;
 * putting it back is what replacing the file does: everybody has stopped before. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim/inside.h"

#define SCRIPT_MAX (64 * 1024)
#define NAMES "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
#define POSTGRES_NAMES                                                                             \
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' "              \
    "AND table_type = 'BASE TABLE'"
#define TRIGGERS "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"

static void for_each_name(struct db *db, const char *names, struct str *script, const char *format)
{
    struct query q;
    query_open(&q, db, names);
    while (query_next(&q))
        for (const char *c = format; *c; c++)
            if (*c == '?')
                str_add(script, query_text(&q, 0));
            else
                str_add_bytes(script, c, 1);
    enum err err = query_close(&q);
    assert(err == ERR_OK);
    (void)err;
}

static void script_run(struct db *db, struct str *script)
{
    enum err err = script->failed ? ERR_NO_MEMORY : db_script(db, script->data);
    if (err != ERR_OK)
        fprintf(stderr, "%s\n", db_why(db));
    assert(err == ERR_OK);
    str_release(script);
}

static void postgres_copy(struct db *db)
{
    struct str script;
    str_init(&script, SCRIPT_MAX);
    str_add(&script, "DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup;");
    for_each_name(db, POSTGRES_NAMES, &script, "CREATE TABLE backup.? AS TABLE public.?;");
    script_run(db, &script);
}

/* Without the triggers that guard; and numbers are given again, as after a dump. */
static void postgres_put_back(struct db *db)
{
    struct str script;
    str_init(&script, SCRIPT_MAX);
    str_add(&script, "SET LOCAL session_replication_role = replica;");
    for_each_name(db, POSTGRES_NAMES, &script,
                  "DELETE FROM public.?; INSERT INTO public.? SELECT * FROM backup.?;");
    str_add(&script, "SELECT setval(pg_get_serial_sequence('payments', 'seq'), "
                     "(SELECT coalesce(max(seq), 0) + 1 FROM payments), false),"
                     "setval(pg_get_serial_sequence('events', 'seq'), "
                     "(SELECT coalesce(max(seq), 0) + 1 FROM events), false);"
                     "DROP SCHEMA backup CASCADE");
    script_run(db, &script);
}

static void store_copy(struct db *db)
{
    struct str script;
    if (db_is_postgres(db)) {
        postgres_copy(db);
        return;
    }
    str_init(&script, SCRIPT_MAX);
    str_add(&script, "ATTACH ':memory:' AS backup; BEGIN;");
    for_each_name(db, NAMES, &script, "CREATE TABLE backup.? AS SELECT * FROM main.?;");
    str_add(&script, "COMMIT;");
    script_run(db, &script);
}

/* Triggers guard against changes, and this is none: without them, and with them again at the end. */
static void store_put_back(struct db *db)
{
    struct str script;
    struct query q;
    if (db_is_postgres(db)) {
        postgres_put_back(db);
        return;
    }
    str_init(&script, SCRIPT_MAX);
    str_add(&script, "BEGIN; PRAGMA defer_foreign_keys = ON;");
    for_each_name(db, TRIGGERS, &script, "DROP TRIGGER main.?;");
    for_each_name(db, NAMES, &script,
                  "DELETE FROM main.?; INSERT INTO main.? SELECT * FROM backup.?;");
    query_open(&q, db, TRIGGERS);
    while (query_next(&q))
        str_addf(&script, "%s;", query_text(&q, 1));
    enum err err = query_close(&q);
    assert(err == ERR_OK);
    (void)err;
    str_add(&script, "COMMIT; DETACH backup;");
    script_run(db, &script);
}

static void with_store(struct world *w, void (*run)(struct db *))
{
    struct db *db;
    enum err err = world_books_open(w, &db); /* the one that writes */
    assert(err == ERR_OK);
    (void)err;
    run(db);
    world_books_close(w, db);
}

/* Where the processing has no journal the store alone can know what was sent, so nothing new may come in until the
 * store is put back: what was asked and sent after a backup would be lost with the file. */
void world_backs_up(struct world *w, void *nothing)
{
    (void)nothing;
    if (w->closing)
        return;
    world_tell(w, "a backup is taken");
    with_store(w, store_copy);
    w->backup = (struct sim_backup){.taken = true, .at_us = w->now_us, .mails = w->mailbox.count};
    if (!w->plan.journal) {
        world_close_life(w, SIM_APP);
        w->lives[SIM_APP].next_us = TIME_NEVER;
    }
}

static bool known(struct world *w, const struct uuid *id)
{
    char text[UUID_TEXT];
    uuid_format(id, text);
    return world_count(w, "SELECT count(*) FROM payments WHERE id = ?1", id, NULL) > 0 ||
           world_queued(w, "SELECT count(*) FROM queue_records WHERE instr(value, ?1)", text) > 0 ||
           (w->plan.journal && sim_execution_of(sim_journal(w), id));
}

/* Everybody starts again: nothing is on its way any more. What is neither in the file nor in the journal is lost
 * with the file, and its user asks again. */
static void world_starts_again(struct world *w, void *nothing)
{
    (void)nothing;
    if (w->closing)
        return;
    world_tell(w, "the store was restored");
    w->backup.lines = sim_journal(w)->count;
    for (int i = 0; i < w->ask_count; i++) {
        struct sim_ask *ask = &w->asks[i];
        if (ask->accepted && ask->accepted_us >= w->backup.at_us && !known(w, &ask->payment_id))
            world_ask_is_lost(w, ask);
    }
    int kept = 0;
    for (int i = 0; i < w->decision_count; i++)
        if (w->decisions[i].at_us < w->backup.at_us)
            w->decisions[kept++] = w->decisions[i];
    w->decision_count = kept;
}

static void mark_restored(struct world *w)
{
    struct ledger *ledger;
    int64_t marked;
    enum err err = world_ledger(w, &ledger);
    if (err == ERR_OK) {
        err = ledger_mark_restored(ledger, &marked);
        ledger_close(ledger);
    }
    assert(err == ERR_OK);
    (void)err;
}

void world_restores(struct world *w, void *nothing)
{
    (void)nothing;
    if (w->closing)
        return;
    int64_t stopped_us = world_between(w, SIM_WAY_US, 2 * SIM_WAY_US);
    world_tell(w, "everybody stops, and the store is put back");
    for (int role = 0; role < SIM_ROLES; role++) {
        world_close_life(w, (enum sim_role)role);
        w->lives[role].next_us = w->now_us + stopped_us;
    }
    with_store(w, store_put_back);
    if (!w->plan.journal)
        mark_restored(w);
    w->mailbox.forgotten_from = w->backup.mails;
    w->mailbox.forgotten_to = w->mailbox.count;
    w->result->seen[SEEN_RESTORES]++;
    if (w->busy_us < w->now_us + stopped_us)
        w->busy_us = w->now_us + stopped_us;
    world_later(w, stopped_us, world_starts_again, NULL);
}
