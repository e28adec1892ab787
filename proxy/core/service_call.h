/* service_call.h - carries one request to a service and its reply back. */
#ifndef CORE_SERVICE_CALL_H
#define CORE_SERVICE_CALL_H

#include "base/clock.h"
#include "http/codec.h"

/* The server side of the codec for listeners that have a service: `user` is the conn, its owner a
 * worker_listener. */
extern const struct codec_events service_codec_events;

struct conn;
struct worker;
struct worker_listener;

/* So long a call may take to come, or to be taken, whoever else wants to be heard. */
#define SERVICE_SLOW_NS CLOCK_S

/* What is new to those who follow events. */
void service_call_send_events(struct worker *);
/* Of those that take longer, and are neither control's nor follow events, the one that has for
 * longest; NULL: none. */
struct conn *service_call_slowest(const struct worker_listener *);

#endif
