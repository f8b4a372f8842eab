/* users.h: the users of the simulated world: they ask, repeat what was not answered, and remember what they
 * were told. Their notes are the outside view that the books are held against. */
#ifndef SUBPAY_SIM_USERS_H
#define SUBPAY_SIM_USERS_H

#include "services/subscription_app.h"

app_reply_fn user_is_answered; /* ctx = the world; call->token names the ask */

#endif
