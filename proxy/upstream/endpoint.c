/* endpoint.c - what is counted of an endpoint, and whether calls should go to it.
 *
 * Each worker writes its own cells; sums are made by who reads. */
#include "base/check.h"
#include "upstream/resolve.h"
#include "upstream/upstream.h"

/*---------------------------------------------------------------- counters */

static uint32_t sum_u32(const struct endpoint *e, size_t offset)
{
	uint32_t sum = 0;

	for (unsigned w = 0; w < WORKERS_MAX; w++) {
		const char *cell = (const char *)&e->worker[w] + offset;

		sum += atomic_load_explicit((const _Atomic uint32_t *)(const void *)cell,
					    memory_order_acquire);
	}
	return sum;
}

uint32_t endpoint_connections(const struct endpoint *e)
{
	return sum_u32(e, offsetof(struct endpoint_worker, connections));
}

uint32_t endpoint_idle(const struct endpoint *e)
{
	return sum_u32(e, offsetof(struct endpoint_worker, idle_count));
}

uint32_t endpoint_active(const struct endpoint *e)
{
	return sum_u32(e, offsetof(struct endpoint_worker, active));
}

uint32_t endpoint_active_most(const struct endpoint *e)
{
	return sum_u32(e, offsetof(struct endpoint_worker, active_most));
}

uint32_t endpoint_waiting(const struct endpoint *e)
{
	return sum_u32(e, offsetof(struct endpoint_worker, waiting));
}

static const size_t attempts_offset[ENDPOINT_RESULTS] = {
	[ENDPOINT_OK] = offsetof(struct endpoint_worker, attempts_ok),
	[ENDPOINT_FAILED] = offsetof(struct endpoint_worker, attempts_failed),
	[ENDPOINT_ABORTED] = offsetof(struct endpoint_worker, attempts_aborted),
};

static _Atomic uint64_t *attempts_cell(const struct endpoint *e, unsigned w,
				       enum endpoint_result result)
{
	uintptr_t cell = (uintptr_t)&e->worker[w] + attempts_offset[result];

	return (_Atomic uint64_t *)cell;
}

uint64_t endpoint_attempts(const struct endpoint *e, enum endpoint_result result)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < WORKERS_MAX; w++)
		sum += atomic_load_explicit(attempts_cell(e, w, result), memory_order_relaxed);
	return sum;
}

uint64_t endpoint_counted(const struct endpoint *e, enum endpoint_count what)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < WORKERS_MAX; w++)
		sum += atomic_load_explicit(&e->worker[w].counts[what], memory_order_relaxed);
	return sum;
}

void endpoint_begin(struct endpoint *e, unsigned w)
{
	struct endpoint_worker *own = &e->worker[w];
	uint32_t now = atomic_load_explicit(&own->active, memory_order_relaxed) + 1;

	atomic_store_explicit(&own->active, now, memory_order_relaxed);
	if (now > atomic_load_explicit(&own->active_most, memory_order_relaxed))
		atomic_store_explicit(&own->active_most, now, memory_order_relaxed);
}

void endpoint_add(struct endpoint *e, unsigned w, enum endpoint_count what, uint64_t n)
{
	_Atomic uint64_t *cell = &e->worker[w].counts[what];

	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void endpoint_wait(struct endpoint *e, unsigned w, int step)
{
	_Atomic uint32_t *waiting = &e->worker[w].waiting;
	uint32_t now = atomic_load_explicit(waiting, memory_order_relaxed) + (uint32_t)step;

	atomic_store_explicit(waiting, now, memory_order_relaxed);
}

void endpoint_end(struct endpoint *e, unsigned w, enum endpoint_result result)
{
	_Atomic uint64_t *attempts = attempts_cell(e, w, result);
	_Atomic uint32_t *active = &e->worker[w].active;
	uint32_t before = atomic_load_explicit(active, memory_order_relaxed);

	CHECK(before > 0);
	atomic_store_explicit(attempts, atomic_load_explicit(attempts, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	/* released: whoever sees none active may free the endpoint */
	atomic_store_explicit(active, before - 1, memory_order_release);
}

bool endpoint_addr(const struct endpoint *e, uint32_t *turn, struct addr *out)
{
	if (e->addrs != NULL)
		return endpoint_addrs_get(e->addrs, (*turn)++, out);
	*out = e->fixed;
	return true;
}

unsigned endpoint_addr_count(const struct endpoint *e)
{
	return e->addrs != NULL ? endpoint_addrs_count(e->addrs) : 1;
}

/*---------------------------------------------------------------- state */

const char *const endpoint_order_names[ENDPOINT_ORDERS] = {
	[ENDPOINT_UP] = "up", [ENDPOINT_DRAIN] = "drain", [ENDPOINT_DOWN] = "down"
};

static enum endpoint_order order_of(const struct endpoint *e)
{
	return atomic_load_explicit(&e->health.order, memory_order_relaxed);
}

bool endpoint_is_up(const struct endpoint *e)
{
	return order_of(e) == ENDPOINT_UP &&
	       !atomic_load_explicit(&e->health.down, memory_order_relaxed) &&
	       endpoint_addr_count(e) > 0;
}

enum conn_protocol endpoint_protocol(const struct endpoint *e, enum http_choice http)
{
	if (http == HTTP_AUTO)
		return e->peer != NULL ? CONN_EITHER : CONN_HTTP1;
	return http == HTTP_2 ? CONN_HTTP2 : CONN_HTTP1;
}

const char *endpoint_state(const struct endpoint *e)
{
	if (order_of(e) != ENDPOINT_UP)
		return endpoint_order_names[order_of(e)];
	if (endpoint_addr_count(e) == 0)
		return "unresolved";
	return atomic_load_explicit(&e->health.down, memory_order_relaxed) ? "unhealthy" : "up";
}

void endpoint_force(struct endpoint *e, enum endpoint_order order)
{
	atomic_store_explicit(&e->health.order, (uint8_t)order, memory_order_relaxed);
}

void endpoint_force_weight(struct endpoint *e, uint32_t weight)
{
	atomic_store_explicit(&e->health.weight, weight, memory_order_relaxed);
}
