#include "base/err.h"

#include <assert.h>
#include <stddef.h>

static const struct {
    const char *text;
    bool retriable;
} ERRS[] = {
#define ERR_ROW(name, text, retriable) [ERR_##name] = {text, retriable},
    ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

static_assert(sizeof(ERRS) / sizeof(*ERRS) == ERR_COUNT, "every error has its row");

const char *err_text(enum err err)
{
    assert((unsigned)err < ERR_COUNT);
    return ERRS[err].text;
}

bool err_retriable(enum err err)
{
    assert((unsigned)err < ERR_COUNT);
    return ERRS[err].retriable;
}
