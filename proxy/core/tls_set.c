/* tls_set.c - certificates and the like, for all of a configuration. */
#include "core/tls_set.h"

#include <string.h>

#include "base/clock.h"
#include "io/transport.h"

static int64_t now_s(void)
{
	return (int64_t)(clock_wall_ns() / CLOCK_S);
}

static const struct listen_conf *listener_at(const struct config *c, uint32_t i)
{
	return (const struct listen_conf *)c->listen.item + i;
}

void tls_set_close(const struct config *c, struct tls_server **set)
{
	for (uint32_t i = 0; set != NULL && i < c->listen.n; i++)
		tls_server_put(set[i]);
}

/* Goes on after a finding: all of them are wanted. */
struct tls_server **tls_set_open(const struct config *c, struct arena *arena, struct diags *diags)
{
	static const unsigned protocols[] = {
		[false] = 1u << PROTOCOL_HTTP1,
		[true] = 1u << PROTOCOL_HTTP1 | 1u << PROTOCOL_HTTP2,
	};
	struct tls_server **set =
	    arena_zalloc(arena, (c->listen.n + 1) * sizeof(struct tls_server *));
	bool ok = set != NULL;

	if (set == NULL)
		diags_out_of_memory(diags);
	for (uint32_t i = 0; set != NULL && i < c->listen.n; i++) {
		const struct conf_list *certs = &listener_at(c, i)->tls;

		if (certs->n == 0)
			continue;
		set[i] = tls_server_new(certs, protocols[listener_at(c, i)->http2], now_s(), diags);
		ok = ok && set[i] != NULL;
	}
	if (ok)
		return set;
	tls_set_close(c, set);
	return NULL;
}

void tls_set_check(const struct config *c, struct diags *diags)
{
	const struct cluster_conf *cluster = c->upstreams.item;
	struct tls_client *client;
	struct arena scratch;

	arena_init(&scratch, NULL);
	tls_set_close(c, tls_set_open(c, &scratch, diags));
	arena_fini(&scratch);
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		if (cluster_open_tls(&cluster[i], now_s(), &client, diags))
			tls_client_put(client);
	if (c->tracing.endpoint != NULL && strncmp(c->tracing.endpoint, "https://", 8) == 0)
		tls_client_put(tls_client_new(&c->tracing.tls, 0, c->tracing.endpoint_at, now_s(),
					      diags));
}

void tls_set_files(const struct config *c, void (*visit)(void *, const char *), void *arg)
{
	const struct cluster_conf *cluster = c->upstreams.item;

	for (uint32_t i = 0; i < c->listen.n; i++) {
		const struct conf_list *certs = &listener_at(c, i)->tls;

		for (uint32_t k = 0; k < certs->n; k++)
			tls_server_files((const struct tls_server_conf *)certs->item + k, visit,
					 arg);
	}
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		tls_client_files(&cluster[i].tls, visit, arg);
	if (c->tracing.endpoint != NULL)
		tls_client_files(&c->tracing.tls, visit, arg);
}
