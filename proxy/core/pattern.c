/* pattern.c - regular expressions within bounds; see pattern.h. */
#include "core/pattern.h"

#include <pthread.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct pattern {
	const pcre2_code *code; /* in the arena */
	uint32_t groups;
	struct slice *name; /* by number */
};

enum { WRONG_MAX = 128, NEST_MAX = 50, NAME_HEAD = 2 };

/*---------------------------------------------------------------- each thread's scratch */

struct scratch {
	pcre2_match_data *data;
	pcre2_match_context *context;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct scratch scratch;

static void on_thread_end(void *arg)
{
	struct scratch *s = arg;

	pcre2_match_data_free(s->data);
	pcre2_match_context_free(s->context);
}

static void make_key(void)
{
	(void)pthread_key_create(&key, on_thread_end);
}

static bool scratch_make(struct scratch *s)
{
	if (s->data != NULL)
		return true;
	(void)pthread_once(&once, make_key);
	s->context = pcre2_match_context_create(NULL);
	s->data = s->context == NULL ? NULL : pcre2_match_data_create(PATTERN_GROUPS, NULL);
	if (s->data == NULL) {
		pcre2_match_context_free(s->context);
		s->context = NULL;
		return false;
	}
	pcre2_set_match_limit(s->context, PATTERN_STEPS);
	pcre2_set_heap_limit(s->context, PATTERN_HEAP_KIB);
	(void)pthread_setspecific(key, s);
	return true;
}

/*---------------------------------------------------------------- compiling */

static void *take(size_t n, void *arena)
{
	return arena_alloc(arena, n);
}

/* With the arena. */
static void leave(void *p, void *arena)
{
	(void)p;
	(void)arena;
}

static const char *say_wrong(struct arena *arena, int error, size_t at)
{
	PCRE2_UCHAR text[WRONG_MAX];

	if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAPLIMIT)
		return NULL;
	if (pcre2_get_error_message(error, text, sizeof(text)) < 0)
		return "it is no regular expression";
	return arena_printf(arena, "%s, at character %zu", (const char *)text, at + 1);
}

static pcre2_code *compile(struct slice text, uint32_t options, struct arena *arena,
			   const char **wrong)
{
	pcre2_general_context *general = pcre2_general_context_create(take, leave, arena);
	pcre2_compile_context *context =
	    general == NULL ? NULL : pcre2_compile_context_create(general);
	pcre2_code *code;
	int error = 0;
	size_t at = 0;

	*wrong = NULL;
	if (context == NULL)
		return NULL;
	(void)pcre2_set_parens_nest_limit(context, NEST_MAX);
	code = pcre2_compile((PCRE2_SPTR)text.p, text.n, options, &error, &at, context);
	if (code == NULL)
		*wrong = say_wrong(arena, error, at);
	return code;
}

static bool read_names(struct pattern *p)
{
	uint32_t n = 0, size = 0;
	const unsigned char *row;

	(void)pcre2_pattern_info(p->code, PCRE2_INFO_NAMECOUNT, &n);
	(void)pcre2_pattern_info(p->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
	(void)pcre2_pattern_info(p->code, PCRE2_INFO_NAMETABLE, (void *)&row);
	for (uint32_t i = 0; i < n; i++, row += size) {
		unsigned group = (unsigned)row[0] << 8 | row[1];

		if (group <= p->groups)
			p->name[group] = slice_str((const char *)row + NAME_HEAD);
	}
	return true;
}

struct pattern *pattern_compile(const char *text, bool caseless, struct arena *arena,
				const char **wrong)
{
	struct pattern *p = arena_zalloc(arena, sizeof(*p));
	struct slice rest = slice_str(text + 1);
	uint32_t options = PCRE2_NEVER_BACKSLASH_C;

	*wrong = NULL;
	if (p == NULL)
		return NULL;
	if (rest.n > 0 && rest.p[0] == '*') {
		rest = slice_of(rest.p + 1, rest.n - 1);
		caseless = true;
	}
	rest = slice_trim(rest);
	if (rest.n == 0 || rest.n > PATTERN_MAX) {
		*wrong =
		    rest.n == 0 ? "behind the tilde stands a regular expression" : "it is too long";
		return NULL;
	}
	p->code = compile(rest, options | (caseless ? PCRE2_CASELESS : 0), arena, wrong);
	if (p->code == NULL)
		return NULL;
	(void)pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &p->groups);
	p->name = arena_zalloc(arena, (p->groups + 1) * sizeof(*p->name));
	return p->name != NULL && read_names(p) ? p : NULL;
}

/*---------------------------------------------------------------- matching */

static void take_groups(const struct scratch *s, int n, struct slice text,
			struct pattern_found *found)
{
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->data);

	found->n = n == 0 ? PATTERN_GROUPS : (uint32_t)n; /* 0: there were more */
	for (uint32_t i = 0; i < found->n; i++) {
		size_t from = at[2 * i], to = at[2 * i + 1];

		found->group[i] = from == PCRE2_UNSET || to < from
				      ? slice_of(NULL, 0)
				      : slice_of(text.p + from, to - from);
	}
}

enum pattern_answer pattern_match(const struct pattern *p, struct slice text,
				  struct pattern_found *found)
{
	int n;

	if (text.p == NULL)
		text = slice_of("", 0);
	if (!scratch_make(&scratch))
		return PATTERN_TOO_HARD;
	n = pcre2_match(p->code, (PCRE2_SPTR)text.p, text.n, 0, 0, scratch.data, scratch.context);
	if (n == PCRE2_ERROR_NOMATCH)
		return PATTERN_NO;
	if (n < 0)
		return PATTERN_TOO_HARD;
	if (found != NULL)
		take_groups(&scratch, n, text, found);
	return PATTERN_YES;
}

const char *pattern_library(void)
{
	static char version[64];

	return pcre2_config(PCRE2_CONFIG_VERSION, version) > 0 ? version : "unknown";
}

uint32_t pattern_groups(const struct pattern *p)
{
	return p->groups;
}

uint32_t pattern_group(const struct pattern *p, struct slice name)
{
	for (uint32_t i = 1; i <= p->groups; i++)
		if (p->name[i].n > 0 && slice_eq(p->name[i], name))
			return i;
	return 0;
}
