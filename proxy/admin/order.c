/* order.c - JSON is YAML, but for what no JSON has: a dollar would read files. */
#include "admin/order.h"

#include <string.h>

#include "admin/page.h"
#include "base/json.h"

static const char *fault_of(struct slice text, const struct schema *schema, struct arena *arena,
			    const char *shape)
{
	const char *wrong = NULL;
	const struct json *root = json_read(text, arena, &wrong);

	if (root == NULL)
		return wrong;
	if (root->kind != JSON_OBJECT && (root->kind != JSON_STRING || schema->scalar == NULL))
		return shape;
	return memchr(text.p, '$', text.n) != NULL ? shape : NULL;
}

bool order_read(const struct service_request *req, const struct schema *schema, const char *shape,
		struct arena *arena, void *out, struct service_reply *reply)
{
	struct slice text = slice_trim(req->body), none = SLICE("{}");
	struct conf_load load = { .arena = arena };
	const struct node *root = NULL;
	const char *wrong;
	struct diags diags;

	if (text.n > ORDER_BYTES_MAX) {
		page_text(reply, 413, "an order is of 1 KiB at most");
		return false;
	}
	text = text.n == 0 ? none : text;
	diags_init(&diags, arena);
	load.diags = &diags;
	wrong = fault_of(text, schema, arena, shape);
	if (wrong == NULL)
		root = node_read_text("body", text, arena, &diags);
	if (root != NULL && diags.errors == 0 && schema_load(&load, schema, root, out))
		return true;
	page_text(reply, 400,
		  wrong != NULL         ? wrong
		  : diags.first != NULL ? diags.first->message
					: shape);
	return false;
}
