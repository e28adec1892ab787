/* listen_set.c - slots come and go by address. */
#include "core/listen_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

/* A crowd that wants nothing must not make a probe wait for the kernel to try again, which takes a
 * second. */
enum { SERVICE_BACKLOG = 1024 };

void listen_set_init(struct listen_set *ls, unsigned workers, struct stats *stats,
		     const struct control_services *services)
{
	*ls = (struct listen_set){ .workers = workers, .stats = stats, .services = services };
	list_init(&ls->slots);
	inherited_init(&ls->inherited);
}

static unsigned workers_of(const struct listen_set *ls, const struct listen_slot *s)
{
	return s->service != NULL ? 1 : ls->workers;
}

static void remember_file(struct listen_slot *s)
{
	struct stat st;

	if (s->addr.u.sa.sa_family != AF_UNIX || lstat(s->addr.u.un.sun_path, &st) != 0)
		return;
	s->device = st.st_dev;
	s->inode = st.st_ino;
}

/* Unless somebody else has put another one there. */
static void unlink_socket(const struct listen_slot *s)
{
	struct stat st;

	if (s->addr.u.sa.sa_family == AF_UNIX && !s->inherited &&
	    lstat(s->addr.u.un.sun_path, &st) == 0 && st.st_dev == s->device &&
	    st.st_ino == s->inode)
		unlink(s->addr.u.un.sun_path);
}

static void close_unopened(struct listen_slot *s)
{
	for (unsigned w = 0; w < WORKERS_MAX; w++) {
		if (s->fd[w] >= 0)
			close(s->fd[w]);
		s->fd[w] = -1;
		if (!s->open)
			free(s->wl[w]);
		if (!s->open)
			s->wl[w] = NULL;
	}
}

void listen_set_fini(struct listen_set *ls)
{
	struct list *n;

	while ((n = list_pop_front(&ls->slots)) != NULL) {
		struct listen_slot *s = LIST_ENTRY(n, struct listen_slot, link);

		close_unopened(s);
		stats_listener_put(ls->stats, s->stats);
		free(s);
	}
}

static struct listen_slot *find(struct listen_set *ls, const struct addr *a, bool proxy_protocol,
				const struct service *service)
{
	LIST_EACH (n, &ls->slots) {
		struct listen_slot *s = LIST_ENTRY(n, struct listen_slot, link);

		if (addr_eq(&s->addr, a) && s->proxy_protocol == proxy_protocol &&
		    s->service == service)
			return s;
	}
	return NULL;
}

static struct listen_slot *make(struct listen_set *ls, const struct addr *a, bool proxy_protocol,
				const struct service *service)
{
	struct listen_slot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->addr = *a;
	addr_format(a, s->text);
	s->proxy_protocol = proxy_protocol;
	s->service = service;
	for (unsigned w = 0; w < WORKERS_MAX; w++)
		s->fd[w] = -1;
	s->stats = stats_listener_get(ls->stats, s->text);
	if (s->stats == NULL) {
		free(s);
		return NULL;
	}
	list_push_back(&ls->slots, &s->link);
	return s;
}

/* Whether a listener that is still open has this port: it may be about to close, or to give way to
 * another kind of listener on its address. */
static bool is_beside_own(const struct listen_set *ls, const struct listen_slot *s)
{
	LIST_EACH (n, &ls->slots) {
		const struct listen_slot *other = LIST_ENTRY(n, struct listen_slot, link);

		if (other->open && config_addr_clash(&other->addr, &s->addr))
			return true;
	}
	return false;
}

/* Who may connect to a unix socket; the umask takes more away.  Of orders, the group at most. */
static mode_t mode_of(const struct listen_set *ls, const struct listen_slot *s)
{
	return s->service != NULL && s->service == ls->services->admin ? 0660 : 0777;
}

static int bind_worker(struct listen_set *ls, struct listen_slot *s, unsigned w, int backlog,
		       const char **error)
{
	int fd;

	if (w == 0) {
		fd = inherited_take(&ls->inherited, &s->addr);
		s->inherited = fd >= 0;
		if (s->inherited)
			return fd;
	}
	if (w == 0 || (s->addr.u.sa.sa_family != AF_UNIX && !s->inherited))
		return listener_bind(&s->addr, backlog, w > 0 || is_beside_own(ls, s),
				     mode_of(ls, s), error);
	fd = fcntl(s->fd[0], F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		*error = strerror(errno);
	return fd;
}

/* TCP: each worker has a socket of its own (SO_REUSEPORT).  A unix socket is bound once and shared,
 * and so is one that was inherited: who opened it may be another user, with whom the kernel shares
 * no address. */
static bool bind_slot(struct listen_set *ls, struct listen_slot *s, int backlog, struct place at,
		      struct diags *diags)
{
	for (unsigned w = 0; w < workers_of(ls, s); w++) {
		const char *error = NULL;

		s->wl[w] = calloc(1, sizeof(struct worker_listener));
		if (s->wl[w] != NULL)
			s->fd[w] = bind_worker(ls, s, w, backlog, &error);
		if (s->wl[w] == NULL)
			diags_out_of_memory(diags);
		else if (s->fd[w] < 0)
			diag_error(diags, at, "E040", "cannot listen on %s: %s", s->text, error);
		if (s->fd[w] < 0) {
			close_unopened(s);
			return false;
		}
		s->wl[w]->slot = s;
	}
	remember_file(s);
	return true;
}

static bool want(struct listen_set *ls, const struct addr *a, bool proxy_protocol, int backlog,
		 const struct service *service, struct place at, struct diags *diags)
{
	struct listen_slot *s = find(ls, a, proxy_protocol, service);

	if (s == NULL)
		s = make(ls, a, proxy_protocol, service);
	if (s == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	s->wanted = true;
	return s->open || s->wl[0] != NULL || bind_slot(ls, s, backlog, at, diags);
}

bool listen_set_prepare(struct listen_set *ls, const struct config *c, struct diags *diags)
{
	bool ok = true;

	LIST_EACH (n, &ls->slots)
		LIST_ENTRY(n, struct listen_slot, link)->wanted = false;
	for (uint32_t i = 0; i < c->listen.n; i++) {
		const struct listen_conf *l = (const struct listen_conf *)c->listen.item + i;

		ok &= want(ls, &l->addr, l->proxy_protocol, (int)l->backlog, NULL, l->at, diags);
	}
	if (c->probes.present)
		ok &=
		    want(ls, &c->probes.addr, false, SERVICE_BACKLOG,
			   ls->services->probes, c->probes.at, diags);
	if (c->admin.present)
		ok &= want(ls, &c->admin.addr, false, SERVICE_BACKLOG, ls->services->admin,
			   c->admin.at, diags);
	if (!ok)
		listen_set_abandon(ls);
	return ok;
}

void listen_set_abandon(struct listen_set *ls)
{
	LIST_EACH (n, &ls->slots) {
		struct listen_slot *s = LIST_ENTRY(n, struct listen_slot, link);

		if (!s->open && s->wl[0] != NULL)
			unlink_socket(s);
		close_unopened(s);
	}
}

bool listen_set_orders(struct listen_set *ls, unsigned w, struct worker_order *order)
{
	size_t slots = 1, opened = 0, closed = 0;

	LIST_EACH (n, &ls->slots)
		slots++;
	order->open = calloc(slots, sizeof(*order->open));
	order->close = calloc(slots, sizeof(*order->close));
	if (order->open == NULL || order->close == NULL)
		return false;
	LIST_EACH (n2, &ls->slots) {
		struct listen_slot *s = LIST_ENTRY(n2, struct listen_slot, link);

		if (s->wl[w] == NULL)
			continue;
		if (s->wanted && !s->open)
			order->open[opened++] = s->wl[w];
		else if (!s->wanted && s->open)
			order->close[closed++] = s->wl[w];
	}
	return true;
}

void listen_set_commit(struct listen_set *ls)
{
	LIST_EACH (n, &ls->slots) {
		struct listen_slot *s = LIST_ENTRY(n, struct listen_slot, link);

		if (s->wanted && !s->open)
			log_info("listening on %s%s", s->text, s->inherited ? ", inherited" : "");
		if (!s->wanted && s->open) {
			log_info("no longer listening on %s", s->text);
			unlink_socket(s);
			for (unsigned w = 0; w < WORKERS_MAX; w++)
				s->wl[w] =
				    NULL; /* the workers free them with their last connection */
		}
		s->open = s->wanted;
	}
}

void listen_set_unlink(struct listen_set *ls)
{
	LIST_EACH (n, &ls->slots) {
		struct listen_slot *s = LIST_ENTRY(n, struct listen_slot, link);

		if (s->open)
			unlink_socket(s);
	}
}
