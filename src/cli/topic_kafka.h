/* topic_kafka.h: private to `subpay topic`: the cluster of KAFKA_BROKERS, where it is configured. One thread. */
#ifndef SUBPAY_CLI_TOPIC_KAFKA_H
#define SUBPAY_CLI_TOPIC_KAFKA_H

#include "base/config.h"
#include "queue/kafka.h"

/* A handle that joins no group. false after it printed why; *code is set. */
bool topic_kafka_open(const struct config *config, struct kafka **kafka, struct queue **queue,
                      int *code);
/* OK: all durable. ERR_IO: not known of all; any other error: the first was not taken. */
enum err topic_kafka_append(struct queue *queue, const struct queue_message *messages,
                            size_t count) MUST_CHECK;

#endif
