/* service_call.h - carries one request to a service and its reply back. */
#ifndef CORE_SERVICE_CALL_H
#define CORE_SERVICE_CALL_H

#include "http/codec.h"

/* The server side of the codec for listeners that have a service: `user` is the conn, its owner a
 * worker_listener. */
extern const struct codec_events service_codec_events;

struct worker;

/* What is new to those who follow events. */
void service_call_send_events(struct worker *);

#endif
