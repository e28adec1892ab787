/* cli_option.c - options: -x VALUE, -xVALUE, --name VALUE, --name=VALUE, each at most once unless
 * it is a list; behind -- everything is an argument. */
#include <string.h>

#include "conf/suggest.h"
#include "core/cli_internal.h"

static bool is_option(const struct cli_option *o)
{
	return o->text != NULL || o->flag != NULL || o->list != NULL;
}

static const struct cli_option *find_letter(const struct cli_option *o, char letter)
{
	for (; is_option(o); o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static const struct cli_option *find_name(const struct cli_option *o, struct slice name,
					  struct suggest *s)
{
	for (; is_option(o); o++) {
		if (o->name == NULL)
			continue;
		if (slice_is(name, o->name))
			return o;
		suggest_offer(s, o->name);
	}
	return NULL;
}

static bool keep(const struct cli_option *o, const char *arg, const char *value)
{
	if (o->text != NULL) {
		*o->text = value;
	} else if (o->list->n < o->list->max) {
		o->list->item[o->list->n++] = value;
	} else {
		cli_usage_error("`%s` is given more than %u times", arg, o->list->max);
		return false;
	}
	return true;
}

/* `value` is what stands in the same argument, or NULL; *at is moved over a value of its own. */
static bool take(const struct cli_option *o, const char *arg, const char *value, int argc,
		 char **argv, int *at)
{
	if (o->flag != NULL) {
		if (value != NULL)
			cli_usage_error("`%s` takes no value", arg);
		*o->flag = true;
		return value == NULL;
	}
	if (o->text != NULL && *o->text != NULL) {
		cli_usage_error("`%s` is given twice", arg);
		return false;
	}
	if (value == NULL && *at + 1 < argc)
		value = argv[++*at];
	if (value == NULL) {
		cli_usage_error("`%s` needs a value", arg);
		return false;
	}
	return keep(o, arg, value);
}

static bool take_long(const struct cli_option *options, int argc, char **argv, int *at)
{
	const char *arg = argv[*at];
	struct slice value = slice_str(arg), name = slice_cut(&value, '=');
	const struct cli_option *o;
	struct suggest s;

	suggest_begin(&s, name);
	o = find_name(options, name, &s);
	if (o == NULL && s.best != NULL)
		cli_usage_error("`%s` takes no option `%.*s`; did you mean `%s`?", argv[0],
				SLICE_FMT(name), s.best);
	else if (o == NULL)
		cli_usage_error("`%s` takes no option `%.*s`", argv[0], SLICE_FMT(name));
	return o != NULL && take(o, arg, value.p, argc, argv, at);
}

/* "-tq" is two flags, "-cFILE" an option with its value. */
static bool take_letters(const struct cli_option *options, int argc, char **argv, int *at)
{
	const char *arg = argv[*at];

	for (const char *c = arg + 1; *c != '\0'; c++) {
		const struct cli_option *o = find_letter(options, *c);

		if (o == NULL) {
			cli_usage_error("`%s` takes no option `-%c`", argv[0], *c);
			return false;
		}
		if (o->flag == NULL)
			return take(o, arg, c[1] == '\0' ? NULL : c + 1, argc, argv, at);
		*o->flag = true;
	}
	return true;
}

/* Who wants to know of options; one thread has the command line. */
static void (*sight)(void *arg, const struct cli_option *);
static void *sight_arg;

void cli_options_of(const struct cli_command *c, const struct cli_host *host,
		    void (*see)(void *arg, const struct cli_option *), void *arg)
{
	char name[64];
	char *argv[] = { name, NULL };

	snprintf(name, sizeof(name), "%s", c->name);
	sight = see;
	sight_arg = arg;
	(void)c->run(1, argv, host);
	sight = NULL;
}

static bool show_options(const struct cli_option *o, const struct cli_words *words)
{
	const struct cli_option rest = { .values = words->values };

	if (sight == NULL)
		return false;
	for (; is_option(o); o++)
		sight(sight_arg, o);
	sight(sight_arg, &rest);
	return true;
}

bool cli_parse(int argc, char **argv, const struct cli_option *options, struct cli_words *words)
{
	bool words_only = false;

	if (show_options(options, words))
		return false;
	for (int at = 1; at < argc; at++) {
		const char *arg = argv[at];

		if (!words_only && strcmp(arg, "--") == 0) {
			words_only = true;
		} else if (!words_only && arg[0] == '-' && arg[1] == '-') {
			if (!take_long(options, argc, argv, &at))
				return false;
		} else if (!words_only && arg[0] == '-' && arg[1] != '\0') {
			if (!take_letters(options, argc, argv, &at))
				return false;
		} else if (words->n < words->max) {
			words->word[words->n++] = arg;
		} else {
			cli_usage_error("`%s` has nothing to do with `%s`", argv[0], arg);
			return false;
		}
	}
	return true;
}
