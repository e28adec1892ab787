/* node_expand.c - ${VAR}, ${VAR:-default}, ${file:/path} and $$ in scalars.
 *
 * What was put in is not looked at again: a variable that holds "${X}" stays "${X}". */
#include <stdlib.h>
#include <string.h>

#include "conf/node_internal.h"
#include "conf/utf8.h"

struct expansion {
	const struct origin *origin;
	struct node *node;
	struct buf out;
	size_t searched; /* how much of the raw text lies behind */
};

/* The place of "${...": within the scalar where the file shows it on the scalar's first line, else
 * the scalar. */
static struct place reference_place(struct expansion *x, struct slice reference)
{
	struct place at = x->node->at;
	struct slice raw = x->origin->raw;
	const char *found = NULL;

	if (x->searched < raw.n)
		found = memmem(raw.p + x->searched, raw.n - x->searched, reference.p, reference.n);
	if (found == NULL)
		return at;
	x->searched = (size_t)(found - raw.p) + reference.n;
	if (memchr(raw.p, '\n', (size_t)(found - raw.p)) != NULL)
		return at;
	at.column += (uint32_t)(found - raw.p);
	at.end_column = at.column + (uint32_t)reference.n;
	return at;
}

static bool is_name(struct slice s)
{
	if (s.n == 0 || (s.p[0] >= '0' && s.p[0] <= '9'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_'))
			return false;
	}
	return true;
}

static bool is_text(struct slice s)
{
	uint32_t c;

	for (size_t n; s.n > 0; s.p += n, s.n -= n) {
		n = utf8_decode(s.p, s.n, &c);
		if (n == 0 || c == 0)
			return false;
	}
	return true;
}

static bool expand_file(struct expansion *x, struct slice path, struct place at)
{
	struct reader *r = x->origin->reader;
	const char *name = path_beside(x->origin->file, path, r->nodes), *why = NULL;
	struct file_id id;
	struct slice text;

	if (name == NULL) {
		diags_out_of_memory(r->diags);
		return false;
	}
	if (!file_read(name, FILE_REGULAR, NODE_SECRET_BYTES, r->nodes, &text, &id, &why)) {
		if (why == NULL)
			diags_out_of_memory(r->diags);
		else
			diag_error(r->diags, at, "E009", "cannot read `%s`: %s", name, why);
		return false;
	}
	if (!is_text(text)) {
		diag_error(r->diags, at, "E009", "`%s` holds something that is not UTF-8 text",
			   name);
		return false;
	}
	if (text.n > 0 && text.p[text.n - 1] == '\n')
		text.n--;
	buf_put(&x->out, text.p, text.n);
	x->node->secret = true;
	return true;
}

static bool expand_variable(struct expansion *x, struct slice name, const struct slice *dflt,
			    struct place at)
{
	struct reader *r = x->origin->reader;
	struct slice copy = arena_copy(r->nodes, name);
	const char *value;

	if (copy.p == NULL) {
		diags_out_of_memory(r->diags);
		return false;
	}
	value = getenv(copy.p);
	if (dflt != NULL && (value == NULL || *value == '\0')) {
		buf_put(&x->out, dflt->p, dflt->n);
		return true;
	}
	if (value == NULL) {
		diag_error(r->diags, at, "E009", "the variable `%s` is not set", copy.p)->help =
		    arena_printf(r->diags->arena, "${%s:-...} gives it a default", copy.p);
		return false;
	}
	if (!is_text(slice_str(value))) {
		diag_error(r->diags, at, "E009", "the variable `%s` is not UTF-8 text", copy.p);
		return false;
	}
	buf_puts(&x->out, value);
	return true;
}

/* `inside` is what stands between the braces. */
static bool expand_reference(struct expansion *x, struct slice whole, struct slice inside)
{
	static const struct slice file = SLICE("file:");
	struct place at = reference_place(x, whole);
	struct slice name = inside, dflt;
	size_t n = 0;

	if (slice_starts(inside, file) && inside.n > file.n)
		return expand_file(x, slice_of(inside.p + file.n, inside.n - file.n), at);
	while (n < inside.n && inside.p[n] != ':')
		n++;
	name.n = n;
	if (is_name(name) && n == inside.n)
		return expand_variable(x, name, NULL, at);
	if (is_name(name) && n + 1 < inside.n && inside.p[n + 1] == '-') {
		dflt = slice_of(inside.p + n + 2, inside.n - n - 2);
		return expand_variable(x, name, &dflt, at);
	}
	diag_error(x->origin->reader->diags, at, "E009", "`%.*s` is not understood",
		   SLICE_FMT(whole))
	    ->help = "${VAR}, ${VAR:-default}, ${file:/path}, and $$ for a dollar sign";
	return false;
}

static bool is_upper(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* "$TOKEN" is what a shell would replace; here it is text, and mostly not meant as such. */
static void doubt_variable(struct expansion *x, struct slice from_dollar)
{
	struct reader *r = x->origin->reader;
	struct slice name = slice_of(from_dollar.p + 1, 0), whole;
	struct diag *d;

	while (name.n + 1 < from_dollar.n && is_upper(name.p[name.n]))
		name.n++;
	whole = slice_of(from_dollar.p, name.n + 1);
	if (r->unbounded || name.n < 2 || !is_name(name))
		return;
	d = diag_warning(r->diags, reference_place(x, whole), "W108", "`%.*s` stays as it is",
			 SLICE_FMT(whole));
	d->suggestion = arena_printf(r->diags->arena, "${%.*s}", SLICE_FMT(name));
	d->help = "what stands in ${...} is replaced; $$ is a dollar sign";
}

/* Takes one piece off the front of *rest: plain text, "$$" or "${...}". */
static bool expand_piece(struct expansion *x, struct slice *rest)
{
	const char *dollar = memchr(rest->p, '$', rest->n), *end;
	size_t plain = dollar == NULL ? rest->n : (size_t)(dollar - rest->p), whole;
	struct slice from_dollar = slice_of(rest->p + plain, rest->n - plain);

	buf_put(&x->out, rest->p, plain);
	*rest = from_dollar;
	if (dollar == NULL)
		return true;
	if (from_dollar.n < 2 || (dollar[1] != '$' && dollar[1] != '{')) {
		doubt_variable(x, from_dollar);
		buf_putc(&x->out, '$');
		*rest = slice_of(dollar + 1, from_dollar.n - 1);
		return true;
	}
	if (dollar[1] == '$') {
		buf_putc(&x->out, '$');
		*rest = slice_of(dollar + 2, from_dollar.n - 2);
		return true;
	}
	end = memchr(dollar, '}', from_dollar.n);
	if (end == NULL) {
		diag_error(x->origin->reader->diags, reference_place(x, slice_of(dollar, 2)),
			   "E009", "a `${` without its `}`");
		*rest = slice_of(dollar, 0);
		return false;
	}
	whole = (size_t)(end - dollar) + 1;
	*rest = slice_of(end + 1, from_dollar.n - whole);
	return expand_reference(x, slice_of(dollar, whole), slice_of(dollar + 2, whole - 3));
}

bool node_expand(const struct origin *origin, struct node *node)
{
	struct expansion x = { .origin = origin, .node = node };
	struct diags *diags = origin->reader->diags;
	struct slice rest = node->text;
	bool ok = true;

	while (rest.n > 0 && x.out.n <= NODE_SCALAR_BYTES)
		ok = expand_piece(&x, &rest) && ok;
	if (x.out.n > NODE_SCALAR_BYTES) {
		diag_error(diags, node->at, "E006", "the value is longer than %d bytes",
			   NODE_SCALAR_BYTES);
		ok = false;
	} else if (ok) {
		node->text = arena_copy(origin->reader->nodes, slice_of(x.out.p, x.out.n));
		node->quoted = false;
	}
	if (x.out.oom || node->text.p == NULL) {
		diags_out_of_memory(diags);
		node->text = (struct slice)SLICE("");
		ok = false;
	}
	buf_fini(&x.out);
	return ok;
}
