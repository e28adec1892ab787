/* worker.c - one thread: accepts, follows orders, lets go of policies. */
#include "core/worker.h"

#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "core/exchange.h"
#include "core/service_call.h"
#include "core/tracing.h"
#include "upstream/pool.h"

#define CLOSE_IDLE_NS (100 * CLOCK_MS)

/*---------------------------------------------------------------- policies */

struct policy_use *worker_use_get(struct worker *w)
{
	w->use->calls++;
	return w->use;
}

static bool policy_has_endpoint(const struct policy *p, const struct endpoint *ep)
{
	for (uint32_t i = 0; i < p->n_clusters; i++)
		for (uint32_t k = 0; k < p->cluster[i]->n; k++)
			if (p->cluster[i]->member[k].endpoint == ep)
				return true;
	return false;
}

/* Idle connections to endpoints that the policy in force does not know. */
static void clear_pools(struct worker *w, const struct policy *old)
{
	for (uint32_t i = 0; i < old->n_clusters; i++) {
		const struct cluster *cl = old->cluster[i];

		for (uint32_t k = 0; k < cl->n; k++)
			if (w->use == NULL ||
			    !policy_has_endpoint(w->use->policy, cl->member[k].endpoint))
				pool_clear(cl->member[k].endpoint, w->index);
	}
}

/* It is asked by each who finds none: not each may look at all endpoints. */
bool worker_close_idle(struct worker *w)
{
	const struct policy *p = w->use == NULL ? NULL : w->use->policy;
	bool any = false;

	if (p == NULL || w->loop.now_ns < w->close_idle_ns)
		return false;
	w->close_idle_ns = w->loop.now_ns + CLOSE_IDLE_NS;
	for (uint32_t i = 0; i < p->n_clusters; i++)
		for (uint32_t k = 0; k < p->cluster[i]->n; k++)
			any |= pool_close_idle(p->cluster[i]->member[k].endpoint, w->index);
	return any;
}

/* The worker holds nothing of it any more: says so to control. */
void worker_let_go(struct worker *w, struct policy_use *use)
{
	clear_pools(w, use->policy);
	auth_worker_free(use->auth);
	use->auth = NULL;
	list_remove(&use->link);
	mailbox_post(w->shared->control, &use->released);
}

void worker_use_put(struct worker *w, struct policy_use *use)
{
	CHECK(use->calls > 0);
	if (--use->calls == 0 && use != w->use)
		worker_let_go(w, use);
}

static void refresh_env(struct worker *w)
{
	w->env.now_ns = w->loop.now_ns;
	w->env.wall_ns = w->loop.wall_ns;
}

static void tell_filters(struct worker *w, const struct policy *p)
{
	refresh_env(w);
	for (uint32_t i = 0; i < p->n_filters; i++)
		if (p->filter[i]->ops->in_force != NULL)
			p->filter[i]->ops->in_force(p->filter[i], &w->env);
}

static void follow(struct worker *w, struct policy_use *use)
{
	const struct limits_conf *limits = &use->policy->config->limits;
	struct policy_use *old = w->use;

	w->use = use;
	list_push_back(&w->uses, &use->link);
	w->h2_limits = limits->http2.limits;
	w->h2_limits.stream_window = (uint32_t)limits->http2.stream_window;
	w->h2_limits.conn_window = (uint32_t)limits->http2.conn_window;
	w->h2_limits.tunnels = use->policy->upgrades;
	w->codec_limits = use->policy->codec_limits;
	w->codec_limits.h2 = &w->h2_limits;
	w->upstream_limits = w->codec_limits;
	w->times = (struct conn_times){ .handshake_ns = limits->handshake_timeout_ns,
					.header_ns = limits->header_timeout_ns,
					.idle_ns = limits->idle_timeout_ns,
					.write_ns = limits->write_timeout_ns,
					.linger_ns = 2 * CLOCK_S };
	if (old != NULL && old->calls == 0)
		worker_let_go(w, old);
	tell_filters(w, use->policy);
}

/*---------------------------------------------------------------- connections */

static void listener_put(struct worker_listener *wl)
{
	if (!wl->closed || wl->conns > 0)
		return;
	tls_server_put(wl->tls);
	free(wl);
}

static void end_handshake(struct worker_listener *wl, enum handshake_end end)
{
	atomic_fetch_sub_explicit(&wl->worker->shared->handshakes, 1, memory_order_relaxed);
	stats_handshake_end(wl->stats, wl->worker->index, end);
}

static void on_conn_secured(struct conn *c)
{
	end_handshake(c->owner, tls_is_resumed(c->transport) ? HANDSHAKE_RESUMED : HANDSHAKE_FULL);
}

static void on_conn_closed(struct conn *c, const struct reason *why)
{
	struct worker_listener *wl = c->owner;
	struct worker *w = wl->worker;

	if (c->unsecured)
		end_handshake(wl, why == reason_handshake_timeout ? HANDSHAKE_TIMEOUT
								  : HANDSHAKE_FAILED);
	wl->conns--;
	if (wl->slot->service == NULL)
		atomic_fetch_sub_explicit(&w->shared->connections, 1, memory_order_relaxed);
	stats_conn_close(wl->stats, w->index);
	listener_put(wl);
}

static const struct conn_events server_conn_events = { .connected = on_conn_secured,
						       .closed = on_conn_closed };

/* Over a bound: one answer in one write, without a connection object. */
static void refuse_plain(struct worker_listener *wl, int fd, const struct reason *why, uint64_t ms)
{
	char answer[192], unread[4096];
	int n = snprintf(
	    answer, sizeof(answer),
	    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: %llu\r\n"
	    "retry-after-ms: %llu\r\nContent-Length: 0\r\n\r\n",
	    (unsigned long long)((ms + 999) / 1000), (unsigned long long)ms);

	(void)!recv(fd, unread, sizeof(unread),
		    MSG_DONTWAIT); /* unread bytes would turn the close into a reset */
	(void)!send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	shutdown(fd, SHUT_WR);
	close(fd);
	stats_conn_refused(wl->stats, wl->worker->index, why);
}

/* Nothing can be said without a handshake. */
static void refuse_secure(struct worker_listener *wl, int fd, const struct reason *why)
{
	static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
	stats_conn_refused(wl->stats, wl->worker->index, why);
}

static void refuse(struct worker_listener *wl, int fd, const struct reason *why, uint64_t ms)
{
	if (wl->tls != NULL)
		refuse_secure(wl, fd, why);
	else
		refuse_plain(wl, fd, why, ms);
}

static uint32_t service_bound(const struct worker_listener *wl)
{
	const struct config *c = wl->worker->use->policy->config;

	return strcmp(wl->slot->service->name, "admin") == 0 ? c->admin.connections
							     : c->probes.connections;
}

/* Of what is left of an answer most goes at once. */
static bool is_slow(const struct conn *c, enum codec_phase phase)
{
	return phase != CODEC_CLOSED ||
	       c->loop->now_ns + c->times->write_ns >= c->timer.deadline_ns + SERVICE_SLOW_NS;
}

static struct conn *oldest_in(struct worker_listener *wl, enum codec_phase phase)
{
	LIST_EACH (n, &wl->clients) {
		struct conn *c = LIST_ENTRY(n, struct conn, pool_link);

		if (c->timed_phase == phase && is_slow(c, phase))
			return c;
	}
	return NULL;
}

/* Those who only hold a connection open do not keep others from being heard, be it that they may
 * come back, have been answered, or never come to the end of what they say (a head is one packet,
 * for whoever means it): the one that came first goes.  False: all are busy. */
static bool make_room(struct worker_listener *wl)
{
	struct conn *c = oldest_in(wl, CODEC_IDLE);

	if (c == NULL)
		c = oldest_in(wl, CODEC_HEAD);
	if (c == NULL)
		c = service_call_slowest(wl);
	if (c == NULL)
		c = oldest_in(wl, CODEC_LINGER);
	if (c == NULL)
		c = oldest_in(wl, CODEC_CLOSED);
	if (c == NULL)
		return false;
	conn_close(c, NULL);
	stats_conn_refused(wl->stats, wl->worker->index, reason_overload);
	return true;
}

static bool over_bound(struct worker_listener *wl)
{
	struct worker *w = wl->worker;
	_Atomic uint32_t *count = &w->shared->connections;

	if (wl->slot->service != NULL)
		return wl->conns >= service_bound(wl) && !make_room(wl);
	if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) <
	    w->use->policy->config->limits.connections)
		return false;
	atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
	return true;
}

/* All workers go by one number; each may be a turn behind the others. */
static bool too_many_handshakes(const struct worker_listener *wl)
{
	const struct worker *w = wl->worker;

	return wl->tls != NULL &&
	       atomic_load_explicit(&w->shared->handshakes, memory_order_relaxed) >=
		   w->use->policy->config->limits.handshakes;
}

static void on_accept(struct listener *l, int fd, const struct addr *peer)
{
	struct worker_listener *wl = l->owner;
	struct worker *w = wl->worker;
	bool service = wl->slot->service != NULL;
	struct transport *t;

	if (too_many_handshakes(wl)) {
		refuse_secure(wl, fd, reason_handshakes_full);
		return;
	}
	if (!service && worker_is_short(w)) {
		refuse(wl, fd, reason_memory_short,
		       memory_wait_ms(&w->shared->memory, w->loop.now_ns));
		return;
	}
	if (over_bound(wl)) {
		refuse(wl, fd, reason_overload, CLOCK_S / CLOCK_MS);
		return;
	}
	t = tcp_open(&w->loop, fd);
	if (t == NULL || !worker_accept(wl, t, peer)) {
		log_error("out of memory: a connection was refused");
		if (!service)
			atomic_fetch_sub_explicit(&w->shared->connections, 1, memory_order_relaxed);
	}
}

bool worker_accept(struct worker_listener *wl, struct transport *t, const struct addr *peer)
{
	struct worker *w = wl->worker;
	struct conn *c =
	    conn_accept(&w->loop, t, peer, wl->slot->proxy_protocol,
			wl->http2 ? CONN_EITHER : CONN_HTTP1, &server_conn_events, wl,
			wl->slot->service != NULL ? &service_codec_events : &exchange_codec_events,
			&w->codec_limits, &w->times);

	if (c == NULL)
		return false;
	wl->conns++;
	if (wl->slot->service != NULL) /* it goes from there when it is closed */
		list_push_back(&wl->clients, &c->pool_link);
	c->serial = w->serial++ * w->shared->workers + w->index + 1;
	stats_conn_open(wl->stats, w->index);
	if (wl->tls != NULL) {
		atomic_fetch_add_explicit(&w->shared->handshakes, 1, memory_order_relaxed);
		stats_handshake_begin(wl->stats, w->index);
		conn_expect_tls(c, wl->tls);
	}
	return true;
}

/*---------------------------------------------------------------- orders */

/* The last descriptors are for others than clients: half of them for connections to upstreams, half
 * for admin, probes and reloads.  Who came in last would else be the one who can do something. */
static int descriptors_but(rlim_t of, rlim_t most)
{
	struct rlimit r;
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur > INT_MAX)
		return 0;
	kept = r.rlim_cur / of < most ? r.rlim_cur / of : most;
	return (int)(r.rlim_cur - kept);
}

static void on_pause(struct listener *l)
{
	struct worker_listener *wl = l->owner;

	stats_accept_paused(wl->stats, wl->worker->index);
	worker_close_idle(wl->worker);
}

enum { DESCRIPTORS_FEW = 8 };

/* Bounds are of use while what comes and goes can fall below them: where the process itself has as
 * many open, none would ever be taken in.  Then the system's own limit is the only one. */
static void drop_bounds(struct worker *w, struct worker_listener *wl)
{
	int bound = wl->listener.bound, *connects = &w->loop.connect_bound;
	int lowest = listener_lowest(&wl->listener);
	int used = lowest - (int)atomic_load(&w->shared->connections);

	if (lowest == INT_MAX)
		return;
	if (*connects != 0 && used >= *connects - DESCRIPTORS_FEW)
		*connects = 0;
	if (bound == 0 || used < bound - DESCRIPTORS_FEW)
		return;
	wl->listener.bound = 0;
	if (!atomic_exchange(&w->shared->told_descriptors, true))
		log_error("%d file descriptors are in use without any client, and clients are to "
			  "have those below %d (RLIMIT_NOFILE is low): none are kept for others",
			  used, bound);
}

static void open_listener(struct worker *w, struct worker_listener *wl)
{
	int fd = wl->slot->fd[w->index];

	wl->worker = w;
	wl->stats = wl->slot->stats;
	list_init(&wl->clients);
	list_push_back(&w->listeners, &wl->link);
	wl->slot->fd[w->index] = -1;
	if (!listener_open(&wl->listener, &w->loop, fd, on_accept, wl))
		log_error("out of memory: worker %u does not listen on %s", w->index,
			  wl->slot->text);
	wl->listener.bound = wl->slot->service == NULL ? descriptors_but(8, 64) : 0;
	wl->listener.on_pause = on_pause;
	if (wl->listener.event != NULL)
		drop_bounds(w, wl);
}

static void close_listener(struct worker *w, struct worker_listener *wl)
{
	if (wl->listener.event != NULL)
		listener_close(&wl->listener);
	list_remove(&wl->link);
	/* what is open goes on to its next answer, and says so */
	LIST_EACH (n, &w->loop.conns) {
		struct conn *c = LIST_ENTRY(n, struct conn, link);

		if (c->times != NULL && c->owner == wl)
			conn_last(c);
	}
	wl->closed = true;
	listener_put(wl);
}

static void close_all_listeners(struct worker *w)
{
	LIST_EACH (n, &w->listeners) {
		struct worker_listener *wl = LIST_ENTRY(n, struct worker_listener, link);

		if (wl->slot->service == NULL)
			close_listener(w, wl);
	}
}

static void cut(struct worker *w)
{
	exchange_cut_all(w, reason_cut);
	LIST_EACH (n, &w->loop.conns) {
		struct conn *c = LIST_ENTRY(n, struct conn, link);

		if (c->times != NULL && ((struct worker_listener *)c->owner)->slot->service == NULL)
			conn_close(c, reason_cut);
	}
}

static void stop(struct worker *w)
{
	LIST_EACH (n, &w->listeners)
		close_listener(w, LIST_ENTRY(n, struct worker_listener, link));
	cut(w);
	LIST_EACH (n, &w->loop.conns)
		conn_close(LIST_ENTRY(n, struct conn, link), NULL);
	w->loop.stop = true;
}

/* What the policy says of it; listen.n: nothing. */
static uint32_t find_conf(const struct policy *p, const struct listen_slot *slot)
{
	const struct listen_conf *conf = p->config->listen.item;

	for (uint32_t i = 0; slot->service == NULL && i < p->config->listen.n; i++)
		if (addr_eq(&conf[i].addr, &slot->addr) &&
		    conf[i].proxy_protocol == slot->proxy_protocol)
			return i;
	return p->config->listen.n;
}

/* Connections to come are met as the policy in force says; those that are there keep what they
 * have. */
static void follow_listeners(struct worker *w)
{
	const struct policy *p = w->use == NULL ? NULL : w->use->policy;

	if (p == NULL)
		return;
	LIST_EACH (n, &w->listeners) {
		struct worker_listener *wl = LIST_ENTRY(n, struct worker_listener, link);
		uint32_t i = find_conf(p, wl->slot);
		bool known = i < p->config->listen.n;
		struct tls_server *tls = known ? p->tls[i] : NULL;

		const struct listen_conf *conf =
		    known ? (const struct listen_conf *)p->config->listen.item + i : NULL;

		wl->http2 = known && conf->http2;
		wl->field_names = known ? conf->field_names : NAMES_ANY;
		tls_server_put(wl->tls);
		wl->tls = tls == NULL ? NULL : tls_server_get(tls);
		if (tls == NULL || w->loop.tickets != NULL)
			continue;
		tls_tickets_run(&w->tickets, &w->loop.timers);
		w->loop.tickets = &w->tickets;
	}
}

static void commit(struct worker *w, struct worker_order *order)
{
	if (order->use != NULL)
		follow(w, order->use);
	for (struct worker_listener **wl = order->open; wl != NULL && *wl != NULL; wl++)
		open_listener(w, *wl);
	for (struct worker_listener **wl = order->close; wl != NULL && *wl != NULL; wl++)
		close_listener(w, *wl);
	follow_listeners(w);
}

static void acknowledge(struct worker_ack *ack)
{
	if (ack == NULL)
		return;
	pthread_mutex_lock(&ack->lock);
	if (--ack->left == 0)
		pthread_cond_signal(&ack->done);
	pthread_mutex_unlock(&ack->lock);
}

void worker_order_run(void *worker, struct message *m)
{
	struct worker *w = worker;
	struct worker_order *order = LIST_ENTRY(m, struct worker_order, message);
	struct worker_ack *ack = order->ack;

	switch (order->kind) {
	case ORDER_COMMIT:
		commit(w, order);
		break;
	case ORDER_DRAIN:
		close_all_listeners(w);
		break;
	case ORDER_CUT:
		cut(w);
		break;
	case ORDER_STOP:
		stop(w);
		break;
	}
	free(order->open);
	free(order->close);
	free(order);
	acknowledge(ack);
}

/*---------------------------------------------------------------- waits that others end */

static void on_wake_mail(void *worker, struct message *m)
{
	struct worker *w = worker;

	(void)m;
	refresh_env(w);
	wakes_run(&w->shared->wakes[w->index]);
}

static void on_wake_later(struct deferred *d)
{
	struct worker *w = LIST_ENTRY(d, struct worker, wake_later);

	refresh_env(w);
	wakes_run(&w->shared->wakes[w->index]);
}

/* Our own are for when the present hook is over; from elsewhere, into the mailbox, once until it
 * was read. */
static void tell(struct wakes *wakes, bool own)
{
	struct worker *w = wakes->owner;

	if (own)
		loop_defer(&w->loop, &w->wake_later, on_wake_later);
	else
		mailbox_post(&w->mailbox, &w->wake_mail);
}

/*---------------------------------------------------------------- events */

static void on_event_mail(void *worker, struct message *m)
{
	struct worker *w = worker;

	(void)m;
	atomic_store(&w->event_told, false);
	service_call_send_events(w);
}

void worker_tell_event(void *worker)
{
	struct worker *w = worker;

	if (!atomic_exchange(&w->event_told, true))
		mailbox_post(&w->mailbox, &w->event_mail);
}

/*---------------------------------------------------------------- the thread */

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd, (void)what;
	loop_enter(&w->loop);
	mailbox_drain(&w->mailbox, w);
	loop_settle(&w->loop);
}

static void after_turn(struct loop *loop)
{
	struct worker *w = loop->data;

	if (loop->lag_ns > 0)
		stats_loop_lag(w->shared->stats, w->index, loop->lag_ns);
	loop->lag_ns = 0;
	access_log_kick(w->shared->log, w->index);
	if (w->has_spans)
		tracing_kick(w->shared->tracing, w->index);
	w->has_spans = false;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	loop_run(&w->loop, after_turn);
	return NULL;
}

struct worker *worker_new(unsigned index, struct shared *shared, bool real)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->magic = WORKER_MAGIC;
	w->index = index;
	w->env.worker = index;
	w->shared = shared;
	list_init(&w->uses);
	list_init(&w->listeners);
	list_init(&w->exchanges);
	list_init(&w->spare);
	list_init(&w->streams);
	list_init(&w->service_calls);
	forward_worker_init(&w->forward);
	if (!mailbox_init(&w->mailbox) || !loop_init(&w->loop, real)) {
		free(w);
		return NULL;
	}
	w->loop.data = w;
	tls_tickets_init(&w->tickets, shared->ticket_secret, shared->ticket_start_ns);
	w->wake_mail.run = on_wake_mail;
	w->event_mail.run = on_event_mail;
	wakes_init(&shared->wakes[index], tell, w);
	w->env.wakes = shared->wakes;
	if (real) {
		w->loop.connect_bound = descriptors_but(16, 32);
		w->mail = event_new(w->loop.base, w->mailbox.fd, EV_READ | EV_PERSIST, on_mail, w);
		CHECK(w->mail != NULL && event_add(w->mail, NULL) == 0);
	}
	return w;
}

bool worker_start(struct worker *w)
{
	char name[16];

	snprintf(name, sizeof(name), "weir/%u", w->index);
	return thread_start(&w->thread, name, 0, worker_main, w);
}

void worker_free(struct worker *w)
{
	CHECK(list_empty(&w->exchanges));
	exchange_fini_spare(w);
	if (w->mail != NULL)
		event_free(w->mail);
	tls_tickets_fini(&w->tickets);
	wakes_fini(&w->shared->wakes[w->index]);
	mailbox_fini(&w->mailbox);
	loop_fini(&w->loop);
	free(w->file_buffer);
	free(w);
}

struct slice worker_date(struct worker *w)
{
	uint64_t s = w->loop.wall_ns / CLOCK_S;
	time_t t = (time_t)s;
	struct tm tm;

	if (s != w->date_s) {
		gmtime_r(&t, &tm);
		strftime(w->date, sizeof(w->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		w->date_s = s;
	}
	return slice_str(w->date);
}
