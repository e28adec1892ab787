/* tunnel.c - see tunnel.h. */
#include "core/tunnel.h"

#include <string.h>

#include "base/reason.h"
#include "core/forward.h"
#include "http/websocket.h"

/* The client's, or one of ours; an earlier try may have taken it out. */
static bool find_key(struct exchange *x)
{
	const struct header *f = head_find_name(x->req, websocket_key_name);

	if (f != NULL)
		x->tunnel_key = f->value;
	return x->tunnel_key.p != NULL;
}

static bool make_key(struct exchange *x)
{
	char *key = arena_alloc(&x->arena, WEBSOCKET_KEY_BYTES);
	uint8_t nonce[WEBSOCKET_NONCE_BYTES];

	if (key == NULL)
		return false;
	forward_random(&x->worker->forward, nonce, sizeof(nonce));
	websocket_key(nonce, key);
	x->tunnel_key = slice_of(key, WEBSOCKET_KEY_BYTES);
	return true;
}

const struct reason *tunnel_ask(struct exchange *x, bool http2)
{
	bool has_key = find_key(x);

	if (http2 && !x->req->h2 && (!has_key || !websocket_key_is_valid(x->tunnel_key)))
		return reason_bad_field;
	if (http2) {
		head_remove_name(x->req, websocket_key_name);
		return NULL;
	}
	if (head_find_name(x->req, websocket_key_name) != NULL)
		return NULL;
	if (!has_key && x->req->h2 && !make_key(x))
		return reason_out_of_memory;
	if (x->tunnel_key.p != NULL && !head_add_name(x->req, websocket_key_name, x->tunnel_key))
		return reason_out_of_memory;
	return NULL;
}

static bool is_accepted(const struct exchange *x, const struct head *h)
{
	const struct header *f = head_find_name(h, websocket_accept_name);
	char want[WEBSOCKET_ACCEPT_BYTES];

	websocket_accept(x->tunnel_key, want);
	return f != NULL && slice_eq(f->value, slice_of(want, sizeof(want)));
}

static bool accept_key(struct exchange *x, struct head *h)
{
	char *text = arena_alloc(&x->arena, WEBSOCKET_ACCEPT_BYTES);

	if (text == NULL)
		return false;
	websocket_accept(x->tunnel_key, text);
	return head_set_name(h, websocket_accept_name, slice_of(text, WEBSOCKET_ACCEPT_BYTES));
}

bool tunnel_switch(struct exchange *x, struct head *h, bool http2)
{
	if (x->req->h2) {
		bool well = http2 || is_accepted(x, h);

		head_remove_name(h, websocket_accept_name);
		return well;
	}
	return !http2 || accept_key(x, h);
}
