/* worker.h - one thread: a loop, the listeners it serves, the calls it carries, the policy it
 * follows.
 *
 *  W1  A call lives its whole life under the policy it started with: it holds a policy_use.
 *  W2  When the last call of a policy that is no longer in force ends, the worker lets go of it and
 * says so to control. W3  Everything here is touched by this thread alone, but for the mailbox and
 * the flags marked _Atomic. */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/access_log.h"
#include "core/forward.h"
#include "core/mailbox.h"
#include "core/policy.h"
#include "core/service.h"
#include "filters/wait.h"
#include "io/conn.h"
#include "io/listener.h"
#include "io/tls_ticket.h"

struct exchange;
struct tracing;
struct worker;

/* One worker's hold on one policy. */
struct policy_use {
	struct policy *policy;
	uint32_t calls;
	struct auth_worker *auth; /* NULL: no call has needed it yet */
	struct list link;
	struct message released; /* to control, when the worker has let go */
};

/* A listening address, shared by the workers: made by control, kept across reloads by address. */
struct listen_slot {
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	bool proxy_protocol;
	const struct service *service; /* NULL: proxies */
	struct listener_stats *stats;
	int fd[WORKERS_MAX]; /* -1 once the worker has taken it */
	/* control's: */
	struct worker_listener *wl[WORKERS_MAX];
	struct list link;
	bool wanted;    /* by the policy being prepared */
	bool open;      /* the workers listen */
	bool inherited; /* the socket, and the file of a unix one, is not ours */
	dev_t device;   /* of a unix socket that is: its file */
	ino_t inode;
};

struct worker_listener {
	struct listener listener;
	struct worker *worker;
	struct listen_slot *slot;
	struct listener_stats *stats;
	struct tls_server *tls; /* of the policy in force, held; NULL: plain */
	bool http2;             /* the same: whether it is spoken, too */
	int field_names;        /* the same: enum field_names */
	struct list link;
	struct list clients; /* of a service: its connections, the oldest first */
	uint32_t conns;
	bool closed; /* freed with its last connection */
};

/* What all workers share. */
struct shared {
	struct stats *stats;
	struct access_log *log;
	struct log_files *logs; /* of text */
	struct mailbox *control;
	struct reload_status reload;
	struct hand_orders orders;
	struct service_budgets budgets;
	struct service_denials denials;
	_Atomic uint32_t streams; /* of events, open; worker 0 writes it */
	_Atomic uint64_t events_missed; /* by those who follow them and do not read; the same */
	unsigned workers;
	_Atomic uint32_t connections;                /* of clients, all listeners and workers */
	_Atomic uint32_t handshakes;                 /* of their TLS, under way */
	uint8_t ticket_secret[TLS_TICKET_KEY_BYTES]; /* that all workers begin with; then none */
	uint64_t ticket_start_ns;
	_Atomic bool ready, draining;
	_Atomic bool told_descriptors; /* that there are too few for any to be kept */
	struct memory_state memory;
	_Atomic uint32_t policies; /* not yet freed */
	struct wakes wakes[WORKERS_MAX];
	struct redis_set *redis; /* NULL: none is configured */
	struct tracing *tracing; /* NULL: in simulations */
	uint64_t start_wall_ns;
};

struct worker {
	uint32_t magic;
	unsigned index;
	struct loop loop;
	char *file_buffer; /* serve.c; NULL until there is a file */
	struct env env;
	struct shared *shared;
	struct policy_use *use; /* the one in force */
	struct list uses;
	struct list listeners;
	struct list exchanges; /* under way */
	struct list spare;     /* for reuse */
	uint32_t n_exchanges, n_spare;
	struct memory_taken taken;
	uint64_t awaited_bytes; /* of bodies, by all calls (collect.c) */
	unsigned
	    surplus; /* exchanges freed beyond the spare ones since memory was last given back */
	uint64_t trim_ns;       /* not before this again */
	uint64_t close_idle_ns; /* the same of idle connections to upstreams */
	struct codec_limits codec_limits,
	    upstream_limits;        /* copies: connections outlive policies */
	struct h2_limits h2_limits; /* what both name */
	struct conn_times times;
	struct forward_worker forward;
	struct tls_tickets tickets; /* once a listener speaks TLS */
	char date[30];              /* of Date, for date_s */
	uint64_t date_s;
	uint64_t serial; /* connections so far */
	struct mailbox mailbox;
	struct event *mail;
	struct message wake_mail; /* from other workers: there are wakes */
	struct message event_mail; /* from who logged something; worker 0 */
	_Atomic bool event_told;
	bool has_spans;      /* the thread that sends them may be asleep */
	struct list streams; /* of struct service_call: clients that follow events */
	struct list service_calls; /* of struct service_call: not yet answered, oldest first */
	struct deferred wake_later;
	pthread_t thread;
};

enum { WORKER_MAGIC = 0x574f524b };

struct worker *worker_new(unsigned index, struct shared *, bool real);
void worker_free(struct worker *);
bool worker_start(struct worker *);

/* A transport that a listener (or a simulation) accepted; taken over.  False when memory is out. */
bool worker_accept(struct worker_listener *, struct transport *, const struct addr *peer);

/* Descriptors are out: idle connections to upstreams give theirs.  False: none has come free. */
bool worker_close_idle(struct worker *);

/* From control: what the worker is to do. */
struct worker_order {
	struct message message;                 /* first */
	struct policy_use *use;                 /* the policy to follow from here, or NULL */
	struct worker_listener **open, **close; /* NULL-terminated, or NULL */
	enum order_kind { ORDER_COMMIT, ORDER_DRAIN, ORDER_CUT, ORDER_STOP } kind;
	struct worker_ack *ack; /* or NULL */
};

/* How control waits for all workers. */
struct worker_ack {
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned left;
};

void worker_order_run(void *worker, struct message *);

/* Any thread: there is a new event (base/event.h); `worker` is worker 0. */
void worker_tell_event(void *worker);

/* Whether new calls are refused for want of memory. */
static inline bool worker_is_short(struct worker *w)
{
	return memory_is_short(&w->shared->memory, &w->taken, w->loop.pool.held, w->shared->workers);
}

/* Takes a hold on the policy in force, for a call that starts. */
struct policy_use *worker_use_get(struct worker *);
void worker_use_put(struct worker *, struct policy_use *);
void worker_let_go(struct worker *, struct policy_use *);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7), made once a second. */
struct slice worker_date(struct worker *);

#endif
