/* config_load.c - from a file, or from flags, to a checked struct config. */
#include <stdio.h>
#include <string.h>

#include "conf/sha256.h"
#include "conf/yaml_text.h"
#include "core/config.h"

/* Before anything is found. */
static void accept_warnings(const struct node *root, struct diags *diags)
{
	const struct node *list = root->kind == NODE_MAP ? node_get(root, "accept") : NULL, *code;

	for (uint32_t i = 0; list != NULL && (code = node_item(list, i)) != NULL; i++)
		if (code->kind == NODE_SCALAR)
			diags_accept(diags, code->text);
}

/* root NULL: what is wrong was said already. */
static struct config *load(const struct node *root, struct arena *arena, struct diags *diags)
{
	struct conf_load l = { .arena = arena, .diags = diags };
	unsigned before = diags->errors;
	struct config *c = root == NULL ? NULL : arena_zalloc(arena, sizeof(*c));

	if (root != NULL && c == NULL)
		diags_out_of_memory(diags);
	if (c == NULL)
		return NULL;
	accept_warnings(root, diags);
	schema_load(&l, &config_schema, root, c);
	if (!diags->oom)
		config_check(c, diags->errors == before, arena, diags);
	return diags->errors == 0 ? c : NULL;
}

struct config *config_load(const char *path, struct arena *arena, struct diags *diags)
{
	struct arena nodes;
	struct config *c;

	arena_init(&nodes, NULL);
	c = load(node_read_file_into(path, &nodes, arena, diags), arena, diags);
	arena_fini(&nodes);
	return c;
}

struct config *config_load_text(const char *name, struct slice text, struct arena *arena,
				struct diags *diags)
{
	return load(node_read_text(name, text, arena, diags), arena, diags);
}

static void put_entry(struct buf *out, const char *key, const char *value)
{
	buf_puts(out, key);
	yaml_put_string(out, slice_str(value));
	buf_putc(out, '\n');
}

static void put_flags(struct buf *out, const char *listen, const char *to, const char *rate,
		      const char *burst)
{
	put_entry(out, "listen: ", listen == NULL ? "127.0.0.1:8080" : listen);
	buf_puts(out, "upstreams:\n");
	put_entry(out, "  app: ", to);
	if (rate != NULL) {
		buf_puts(out, "policies:\n  per-client:\n");
		put_entry(out, "    rate: ", rate);
		if (burst != NULL)
			put_entry(out, "    burst: ", burst);
		buf_puts(out, "    key: client.ip\n");
	}
	buf_puts(out, "routes:\n  - to: app\n");
	if (rate != NULL)
		buf_puts(out, "    use: [per-client]\n");
}

struct config *config_from_flags(const char *listen, const char *to, const char *rate,
				 const char *burst, struct arena *arena, struct diags *diags)
{
	struct buf text = { 0 };
	struct slice copy;

	if (to == NULL || (burst != NULL && rate == NULL)) {
		diag_error(diags, (struct place){ 0 }, "E013",
			   to == NULL ? "--to is missing: where calls go"
				      : "--burst needs --rate beside it");
		return NULL;
	}
	put_flags(&text, listen, to, rate, burst);
	copy = text.oom ? slice_of(NULL, 0) : arena_copy(arena, slice_of(text.p, text.n));
	buf_fini(&text);
	if (copy.p == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	return load(node_read_text("command line", copy, arena, diags), arena, diags);
}

void config_hash(const struct config *c, char out[65])
{
	uint8_t digest[SHA256_BYTES] = { 0 };
	struct buf text = { 0 };

	schema_dump_yaml(&config_schema, c, &text);
	if (!text.oom)
		sha256(slice_of(text.p, text.n), digest);
	for (unsigned i = 0; i < SHA256_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	buf_fini(&text);
}
