/* schema_diff.c - what differs between two loaded configurations, found by the same table.
 *
 * Items of lists are the same item when they have the same identity: their `name`, or what their
 * short form says (an address), or, for scalars, the value. */
#include <stdlib.h>
#include <string.h>

#include "conf/schema_internal.h"

struct differ {
	struct buf *out;
	struct dump old, new; /* dumps to compare by */
	struct buf path;
	unsigned changes, restarts;
	bool needs_restart; /* inside a C_RESTART field */
};

static void diff_map(struct differ *, const struct schema *, const void *old, const void *new);

static size_t push(struct differ *d, const char *step, bool bracket)
{
	size_t before = d->path.n;

	if (bracket)
		buf_printf(&d->path, "[%s]", step);
	else
		buf_printf(&d->path, "%s%s", before == 0 ? "" : ".", step);
	return before;
}

static void pop(struct differ *d, size_t before)
{
	d->path.n = before;
	if (d->path.p != NULL)
		d->path.p[before] = '\0';
}

static void begin_line(struct differ *d, char sign)
{
	d->changes++;
	d->restarts += d->needs_restart;
	buf_printf(d->out, "%c ", sign);
	buf_put(d->out, d->path.p, d->path.n);
}

static void end_line(struct differ *d)
{
	buf_puts(d->out, d->needs_restart ? " (needs a restart)\n" : "\n");
}

static void put_whole(struct differ *d, char sign)
{
	begin_line(d, sign);
	end_line(d);
}

/*----------------------------------------------------------------- scalars */

static void text_of(const struct dump *side, const struct field *f, const void *at, bool reveal,
		    struct buf *text)
{
	struct dump d = *side;

	d.out = text;
	d.reveal = reveal;
	if (!field_is_absent(f, at))
		dump_value(&d, f, at);
}

/* What it is compared by is not what is shown: of a list, single items may be secret. */
static void put_text(struct differ *d, const struct field *f, const struct dump *side,
		     const void *at)
{
	if (dump_is_secret(side, f, at))
		buf_puts(d->out, "<redacted>");
	else
		text_of(side, f, at, false, d->out);
}

static void diff_value(struct differ *d, const struct field *f, const void *old, const void *new)
{
	struct buf before = { 0 }, after = { 0 };

	text_of(&d->old, f, old, true, &before);
	text_of(&d->new, f, new, true, &after);
	if (!slice_eq(slice_of(before.p, before.n), slice_of(after.p, after.n))) {
		begin_line(d, before.n == 0 ? '+' : after.n == 0 ? '-' : '~');
		buf_puts(d->out, ": ");
		if (before.n != 0)
			put_text(d, f, &d->old, old);
		if (before.n != 0 && after.n != 0)
			buf_puts(d->out, " -> ");
		if (after.n != 0)
			put_text(d, f, &d->new, new);
		end_line(d);
	}
	d->out->oom = d->out->oom || before.oom || after.oom;
	buf_fini(&before);
	buf_fini(&after);
}

/*------------------------------------------------------------------- items */

struct item {
	const void *at;
	struct buf id;
	bool matched;
};

static void identify(const struct dump *side, const struct field *f, const void *at, struct buf *id)
{
	const struct field *by;

	if (f->type == C_NAMED) {
		buf_puts(id, ((const struct conf_name *)at)->name);
		return;
	}
	by = schema_field(f->sub, "name");
	if (by == NULL && f->sub->scalar != NULL)
		by = schema_field(f->sub, f->sub->scalar);
	/* what names an item is shown: no secret does */
	if (by != NULL && !(by->flags & C_SECRET) && by->type != C_MAP && by->type != C_NAMED &&
	    by->sub == NULL)
		text_of(side, by, field_at(by, at), false, id);
}

/* NULL when memory is out, or there are none. */
static struct item *items_new(const struct dump *side, const struct field *f,
			      const struct conf_list *list)
{
	struct item *items = list->n == 0 ? NULL : calloc(list->n, sizeof(*items));

	for (uint32_t i = 0; items != NULL && i < list->n; i++) {
		items[i].at = list_at(list, field_item_size(f), i);
		identify(side, f, items[i].at, &items[i].id);
	}
	return items;
}

static void items_free(struct item *items, uint32_t n)
{
	for (uint32_t i = 0; items != NULL && i < n; i++)
		buf_fini(&items[i].id);
	free(items);
}

static struct item *find_match(struct item *items, uint32_t n, const struct item *like,
			       uint32_t likely)
{
	struct slice id = slice_of(like->id.p, like->id.n);

	/* most often it stands where it stood */
	if (likely < n && !items[likely].matched &&
	    slice_eq(id, slice_of(items[likely].id.p, items[likely].id.n)))
		return &items[likely];
	for (uint32_t i = 0; i < n; i++)
		if (!items[i].matched && slice_eq(id, slice_of(items[i].id.p, items[i].id.n)))
			return &items[i];
	return NULL;
}

static size_t push_item(struct differ *d, const struct field *f, const struct item *item)
{
	return push(d, item->id.p == NULL ? "" : item->id.p, f->type == C_LIST);
}

static void diff_pair(struct differ *d, const struct field *f, const void *old, const void *new)
{
	const void *old_conf, *new_conf;
	const struct schema *before = schema_variant_of(f->sub, old, &old_conf);
	const struct schema *after = schema_variant_of(f->sub, new, &new_conf);

	if (before == after) {
		diff_map(d, before, old_conf, new_conf);
		return;
	}
	begin_line(d, '~');
	buf_printf(d->out, ": %s -> ", schema_article(before));
	buf_puts(d->out, schema_article(after));
	end_line(d);
}

static void diff_removed(struct differ *d, const struct field *f, const struct item *old,
			 uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		size_t at;

		if (old[i].matched)
			continue;
		at = push_item(d, f, &old[i]);
		put_whole(d, '-');
		pop(d, at);
	}
}

static void diff_items(struct differ *d, const struct field *f, const struct conf_list *old_list,
		       const struct conf_list *new_list)
{
	struct item *old = items_new(&d->old, f, old_list), *new = items_new(&d->new, f, new_list);
	const struct item *last = NULL;
	bool reordered = false;

	if ((old == NULL && old_list->n != 0) || (new == NULL && new_list->n != 0))
		d->out->oom = true;
	for (uint32_t i = 0; new != NULL &&i < new_list->n; i++) {
		struct item *twin = find_match(old, old == NULL ? 0 : old_list->n, &new[i], i);
		size_t at = push_item(d, f, &new[i]);

		if (twin == NULL) {
			put_whole(d, '+');
		} else {
			twin->matched = true;
			reordered = reordered || (last != NULL && twin < last);
			last = twin;
			diff_pair(d, f, twin->at, new[i].at);
		}
		pop(d, at);
	}
	if (old != NULL)
		diff_removed(d, f, old, old_list->n);
	if (reordered && f->type == C_LIST) {
		begin_line(d, '~');
		buf_puts(d->out, ": the order changed");
		end_line(d);
	}
	items_free(old, old_list->n);
	items_free(new, new_list->n);
}

static void diff_field(struct differ *d, const struct field *f, const void *old, const void *new)
{
	size_t at = push(d, f->key, false);
	bool outer = d->needs_restart;

	d->needs_restart = outer || (f->flags & C_RESTART);
	if (f->type == C_MAP)
		diff_map(d, f->sub, old, new);
	else if (f->type == C_NAMED || (f->type == C_LIST && f->sub != NULL))
		diff_items(d, f, old, new);
	else
		diff_value(d, f, old, new);
	d->needs_restart = outer;
	pop(d, at);
}

static void diff_map(struct differ *d, const struct schema *s, const void *old, const void *new)
{
	for (const struct field *f = s->fields; f->key != NULL; f++)
		diff_field(d, f, field_at(f, old), field_at(f, new));
}

static void differ_init(struct differ *d, const struct schema *s, const void *old, const void *new_,
			struct buf *out)
{
	*d = (struct differ){ .out = out,
			      .old = { .secrets = schema_secrets(s, old) },
			      .new = { .secrets = schema_secrets(s, new_) } };
}

static unsigned differ_end(struct differ *d, unsigned *restart)
{
	d->out->oom = d->out->oom || d->path.oom;
	buf_fini(&d->path);
	if (restart != NULL)
		*restart = d->restarts;
	return d->changes;
}

unsigned schema_diff(const struct schema *s, const void *old, const void *new_, struct buf *out,
		     unsigned *restart)
{
	struct differ d;

	differ_init(&d, s, old, new_, out);
	diff_map(&d, s, old, new_);
	return differ_end(&d, restart);
}

unsigned schema_diff_field(const struct schema *s, const struct field *f, const void *old,
			   const void *new_, struct buf *out, unsigned *restart)
{
	struct differ d;

	differ_init(&d, s, old, new_, out);
	diff_field(&d, f, field_at(f, old), field_at(f, new_));
	return differ_end(&d, restart);
}
