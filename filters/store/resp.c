/* resp.c - hiredis' parser with replies in an arena. */
#include "store/resp.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/arena.h"

struct resp_reader {
	redisReader *parser;
	struct arena arena;
	struct resp root;
	uint32_t values; /* of the reply at hand */
	size_t fed;      /* bytes since the last reply was whole */
	bool broken;
};

/*---------------------------------------------------------- what the parser calls */

/* Where the value goes; the kinds are set by each. */
static struct resp *place(const redisReadTask *task, enum resp_type type)
{
	struct resp_reader *r = task->privdata;
	struct resp *parent, *at = &r->root;

	if (task->parent != NULL) {
		parent = task->parent->obj;
		at = &parent->item[task->idx];
	}
	*at = (struct resp){ .type = type };
	return at;
}

static enum resp_type type_of(int hiredis_type)
{
	switch (hiredis_type) {
	case REDIS_REPLY_ERROR:
		return RESP_ERROR;
	case REDIS_REPLY_STATUS:
		return RESP_STATUS;
	default:
		return RESP_STRING;
	}
}

static void *make_string(const redisReadTask *task, char *p, size_t n)
{
	struct resp_reader *r = task->privdata;
	struct resp *at = place(task, type_of(task->type));

	at->text = arena_copy(&r->arena, slice_of(p, n));
	return at->text.p == NULL ? NULL : at;
}

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

static void *make_array(const redisReadTask *task, element_count n)
{
	struct resp_reader *r = task->privdata;
	struct resp *at = place(task, RESP_ARRAY);

	if ((uint64_t)n > RESP_VALUES_MAX - r->values)
		return NULL;
	r->values += (uint32_t)n;
	at->item = arena_zalloc(&r->arena, ((size_t)n + 1) * sizeof(struct resp));
	if (at->item == NULL)
		return NULL;
	at->n = (uint32_t)n;
	return at;
}

static void *make_integer(const redisReadTask *task, long long v)
{
	struct resp *at = place(task, RESP_INTEGER);

	at->integer = v;
	return at;
}

static void *make_nil(const redisReadTask *task)
{
	return place(task, RESP_NIL);
}

static void forget(void *reply)
{
	(void)reply; /* the arena has it */
}

static redisReplyObjectFunctions functions = {
	.createString = make_string,
	.createArray = make_array,
	.createInteger = make_integer,
	.createNil = make_nil,
	.freeObject = forget,
};

/*------------------------------------------------------------------ the reader */

struct resp_reader *resp_reader_new(void)
{
	struct resp_reader *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	arena_init(&r->arena, NULL);
	r->parser = redisReaderCreateWithFunctions(&functions);
	if (r->parser == NULL) {
		free(r);
		return NULL;
	}
	r->parser->privdata = r;
	return r;
}

void resp_reader_free(struct resp_reader *r)
{
	if (r == NULL)
		return;
	redisReaderFree(r->parser);
	arena_fini(&r->arena);
	free(r);
}

bool resp_reader_feed(struct resp_reader *r, struct slice s)
{
	r->broken = r->broken || redisReaderFeed(r->parser, s.p, s.n) != REDIS_OK;
	r->fed += s.n;
	return !r->broken;
}

/* The parser knows more kinds of values in later versions; they are none of RESP2. */
static bool has_value(const struct resp_reader *r, const void *reply)
{
	return reply == &r->root;
}

enum resp_result resp_reader_next(struct resp_reader *r, size_t max_bytes, const struct resp **out)
{
	void *reply = NULL;

	if (r->parser->ridx < 0) { /* between two replies: the last one's memory goes */
		arena_fini(&r->arena);
		r->values = 0;
	}
	if (r->broken || redisReaderGetReply(r->parser, &reply) != REDIS_OK) {
		r->broken = true;
		return RESP_BROKEN;
	}
	if (reply == NULL) {
		r->broken = r->fed > max_bytes;
		return r->broken ? RESP_BROKEN : RESP_MORE;
	}
	r->fed = r->parser->len - r->parser->pos;
	r->broken = !has_value(r, reply);
	*out = &r->root;
	return r->broken ? RESP_BROKEN : RESP_REPLY;
}

/*-------------------------------------------------------------------- commands */

static void put_word(struct buf *b, struct slice s)
{
	buf_printf(b, "$%zu\r\n", s.n);
	buf_put(b, s.p, s.n);
	buf_puts(b, "\r\n");
}

void resp_put(struct buf *b, const struct slice *word, unsigned n)
{
	buf_printf(b, "*%u\r\n", n);
	for (unsigned i = 0; i < n; i++)
		put_word(b, word[i]);
}

void resp_put_words(struct buf *b, const char *word, ...)
{
	unsigned n = 0;
	va_list count, ap;

	va_start(ap, word);
	va_copy(count, ap);
	for (const char *w = word; w != NULL; w = va_arg(count, const char *))
		n++;
	va_end(count);
	buf_printf(b, "*%u\r\n", n);
	for (const char *w = word; w != NULL; w = va_arg(ap, const char *))
		put_word(b, slice_str(w));
	va_end(ap);
}

bool resp_is(const struct resp *r, const char *text)
{
	return (r->type == RESP_STRING || r->type == RESP_STATUS) &&
	       slice_ieq(r->text, slice_str(text));
}

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *resp_library(void)
{
	return TEXT(HIREDIS_MAJOR) "." TEXT(HIREDIS_MINOR) "." TEXT(HIREDIS_PATCH);
}
