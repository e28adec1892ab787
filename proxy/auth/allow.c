/* allow.c - one hash a line, `#` before what is for people; sorted, and looked up in halves.
 *
 * How long a look takes tells of the hash of what was sent, which its sender knows. */
#include "auth/allow.h"

#include <stdlib.h>

#include "auth/file.h"
#include "http/scan.h"

bool allow_parse(struct slice text, uint8_t out[ALLOW_HASH_BYTES])
{
	static const struct slice prefix = SLICE("sha256:");

	if (slice_starts(text, prefix))
		text = slice_of(text.p + prefix.n, text.n - prefix.n);
	if (text.n != 2 * ALLOW_HASH_BYTES)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (!char_is(text.p[i], CH_HEX))
			return false;
		if (out != NULL)
			out[i / 2] = (uint8_t)((unsigned)out[i / 2] << 4 | char_hex(text.p[i]));
	}
	return true;
}

static bool add(struct allow_list *l, const uint8_t hash[ALLOW_HASH_BYTES])
{
	if (l->n == l->cap) {
		uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
		void *more = realloc(l->hash, (size_t)cap * ALLOW_HASH_BYTES);

		if (more == NULL)
			return false;
		l->hash = more;
		l->cap = cap;
	}
	memcpy(l->hash[l->n++], hash, ALLOW_HASH_BYTES);
	return true;
}

static bool add_line(struct allow_list *l, struct slice line, const char *path, unsigned number,
		     struct place at, struct diags *diags)
{
	uint8_t hash[ALLOW_HASH_BYTES] = { 0 };

	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	line = slice_trim(slice_cut(&line, '#'));
	if (line.n == 0)
		return true;
	if (!allow_parse(line, hash)) {
		diag_error(diags, at, "E015",
			   "%s:%u: a line is the SHA-256 of a key, in 64 hex digits", path, number);
		return false;
	}
	if (l->n == ALLOW_KEYS_MAX) {
		diag_error(diags, at, "E016", "%s:%u: there are at most %d keys", path, number,
			   ALLOW_KEYS_MAX);
		return false;
	}
	if (!add(l, hash))
		diags_out_of_memory(diags);
	return !diags->oom;
}

static bool add_file(struct allow_list *l, const char *path, struct place at, struct diags *diags)
{
	struct arena scratch;
	struct slice text;
	unsigned number = 0;
	bool ok;

	arena_init(&scratch, NULL);
	ok = auth_file_read(path, ALLOW_FILE_BYTES, at, &scratch, diags, &text);
	while (ok && text.n > 0) {
		struct slice line = slice_cut(&text, '\n');

		ok = add_line(l, line, path, ++number, at, diags);
	}
	arena_fini(&scratch);
	return ok;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, ALLOW_HASH_BYTES);
}

bool allow_list_open(struct allow_list *l, const struct api_key_conf *conf, struct diags *diags)
{
	const char *const *item = conf->allow.item;
	uint8_t hash[ALLOW_HASH_BYTES] = { 0 };
	bool ok = true;

	*l = (struct allow_list){ .any = conf->allow.n == 0 };
	for (uint32_t i = 0; i < conf->allow.n; i++) {
		if (!allow_parse(slice_str(item[i]), hash))
			ok = add_file(l, item[i], conf->allow_at, diags) && ok;
		else
			ok = add_line(l, slice_str(item[i]), "allow", i + 1, conf->allow_at,
				      diags) &&
			     ok;
	}
	if (l->n > 0)
		qsort(l->hash, l->n, ALLOW_HASH_BYTES, by_bytes);
	return ok;
}

void allow_list_fini(struct allow_list *l)
{
	free(l->hash);
	*l = (struct allow_list){ .n = 0 };
}

bool allow_list_has(const struct allow_list *l, const uint8_t hash[ALLOW_HASH_BYTES])
{
	return l->any ||
	       (l->n > 0 && bsearch(hash, l->hash, l->n, ALLOW_HASH_BYTES, by_bytes) != NULL);
}

void allow_list_files(const struct api_key_conf *conf, void (*visit)(void *, const char *),
		      void *arg)
{
	const char *const *item = conf->allow.item;

	for (uint32_t i = 0; i < conf->allow.n; i++)
		if (!allow_parse(slice_str(item[i]), NULL))
			visit(arg, item[i]);
}
