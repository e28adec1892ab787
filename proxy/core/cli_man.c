/* cli_man.c - manual pages in mdoc(7): weir.1 of the tables of commands, weir.yaml.5 of the tables that the configuration
 * is read by. */
#include <string.h>

#include "core/cli_internal.h"

/*----------------------------------------------------------------- text lines */

/* What mdoc would take for its own: a dot or a quote at the begin of a line, backslashes. */
static void put_text(struct buf *out, struct slice s, bool begins)
{
	for (size_t i = 0; i < s.n; i++) {
		if (begins && i == 0 && (s.p[i] == '.' || s.p[i] == '\''))
			buf_puts(out, "\\&");
		if (s.p[i] == '\\')
			buf_puts(out, "\\e");
		else if (s.p[i] == '-')
			buf_puts(out, "\\-");
		else
			buf_putc(out, s.p[i]);
	}
}

enum { LINE_MAX_BYTES = 78 };

static bool ends_sentence(struct slice s, size_t i)
{
	return s.p[i] == ' ' && i > 0 && strchr(".?!", s.p[i - 1]) != NULL;
}

/* Where the line that begins the text is to end: behind a sentence, or before it is too long. */
static size_t find_break(struct slice s)
{
	size_t at = s.n;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != ' ')
			continue;
		if (i > LINE_MAX_BYTES && at < s.n)
			return at;
		at = i;
		if (ends_sentence(s, i))
			return at;
	}
	return s.n > LINE_MAX_BYTES ? at : s.n;
}

/* Text that is escaped, in lines as mandoc likes them. */
static void put_filled(struct buf *out, struct slice s)
{
	while (s.n > 0) {
		size_t n = find_break(s);

		if (s.p[0] == '.' || s.p[0] == '\'')
			buf_puts(out, "\\&");
		buf_put(out, s.p, n);
		buf_putc(out, '\n');
		while (n < s.n && s.p[n] == ' ')
			n++;
		s = slice_of(s.p + n, s.n - n);
	}
}

static void put_line(struct buf *out, struct slice s)
{
	struct buf text = { 0 };

	put_text(&text, s, false);
	out->oom |= text.oom;
	put_filled(out, slice_of(text.p, text.n));
	buf_fini(&text);
}

/* A paragraph of `words` in bold where Markdown has `code`, names where it has [links](#so). */
static void put_markdown(struct buf *to, struct slice s)
{
	struct buf text = { 0 }, *out = &text;
	bool code = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '`') {
			code = !code;
			buf_puts(out, code ? "\\fB" : "\\fR");
		} else if (s.p[i] == '\\' && i + 1 < s.n && s.p[i + 1] == '|') {
			continue;
		} else if (!code && s.p[i] == '[' && memchr(s.p + i, ']', s.n - i) != NULL &&
			   memmem(s.p + i, s.n - i, "](#", 3) == memchr(s.p + i, ']', s.n - i)) {
			continue;
		} else if (!code && s.p[i] == ']' && i + 2 < s.n && s.p[i + 1] == '(' &&
			   s.p[i + 2] == '#') {
			while (i < s.n && s.p[i] != ')')
				i++;
		} else {
			put_text(out, slice_of(s.p + i, 1), false);
		}
	}
	buf_puts(out, code ? "\\fR" : "");
	to->oom |= text.oom;
	put_filled(to, slice_of(text.p, text.n));
	buf_fini(&text);
}

/*--------------------------------------------------------------------- weir.1 */

/* "  -c, --config FILE   the configuration": an item, and what goes on below it. */
static bool read_item(struct slice line, struct slice *term, struct slice *text)
{
	size_t at = 0, end;

	while (at < line.n && line.p[at] == ' ')
		at++;
	/* continuations stand behind the column of what items say */
	if (at < 2 || at > 8 || at == line.n)
		return false;
	end = at;
	while (end + 1 < line.n && !(line.p[end] == ' ' && line.p[end + 1] == ' '))
		end++;
	if (end + 1 >= line.n)
		end = line.n;
	*term = slice_of(line.p + at, end - at);
	*text = slice_trim(slice_of(line.p + end, line.n - end));
	return true;
}

/* Paragraphs and items, as help has them. */
static void put_about(struct buf *out, const char *about)
{
	struct slice rest = slice_str(about), term, text;
	bool list = false, gap = false;

	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n');
		struct slice words = slice_trim(line);
		bool item = read_item(line, &term, &text);

		if (words.n == 0) {
			gap = true;
			continue;
		}
		if (item && !list)
			buf_puts(out, ".Bl -tag -width Ds\n");
		else if (list && line.p[0] != ' ')
			buf_puts(out, ".El\n");
		if (gap && line.p[0] != ' ')
			buf_puts(out, ".Pp\n");
		list = item || (list && line.p[0] == ' ');
		gap = false;
		if (item) {
			buf_puts(out, ".It ");
			put_text(out, term, false);
			buf_putc(out, '\n');
			put_line(out, text);
		} else {
			put_line(out, words);
		}
	}
	if (list)
		buf_puts(out, ".El\n");
}

static void put_usage(struct buf *out, const char *usage)
{
	struct slice rest = slice_str(usage);

	buf_puts(out, ".Bd -literal\n");
	while (rest.n > 0) {
		put_text(out, slice_trim(slice_cut(&rest, '\n')), true);
		buf_putc(out, '\n');
	}
	buf_puts(out, ".Ed\n.Pp\n");
}

static void put_commands(struct buf *out, const struct cli_command *c, const char *before)
{
	for (; c != NULL && c->name != NULL; c++) {
		buf_printf(out, ".Ss weir %s%s\n", before, c->name);
		put_usage(out, c->usage);
		put_about(out, c->about);
	}
}

static void print_weir_1(struct buf *out, const struct cli_host *host)
{
	buf_puts(out, ".\\\" made by `weir man weir.1`\n"
		      ".Dd $Mdocdate$\n.Dt WEIR 1\n.Os\n.Sh NAME\n.Nm weir\n"
		      ".Nd reverse proxy that limits\n.Sh SYNOPSIS\n.Nm weir\n.Ar command\n.Op Ar "
		      "argument ...\n"
		      ".Sh DESCRIPTION\n.Nm\n"
		      "stands beside one application, terminates HTTP, asks a chain of policies\n"
		      "whether a call may pass, forwards it, and answers 429 or 503 with a\n"
		      "truthful Retry\\-After where it may not.\n"
		      "Its configuration is one file, see\n.Xr weir.yaml 5 .\n.Sh COMMANDS\n");
	put_commands(out, host->commands, "");
	buf_puts(out, ".Sh CONTROL COMMANDS\nThese ask a running\n.Nm\nover its admin listener.\n");
	put_commands(out, host->ctl, "ctl ");
	buf_puts(
	    out,
	    ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n"
	    ".It Ev WEIR_ADMIN\nThe admin listener that\n.Cm ctl\nasks.\n"
	    ".It Ev WEIR_ADMIN_TOKEN\nThe token that it shows there.\n"
	    ".It Ev NO_COLOR\nNothing is printed in colour or bold.\n.El\n"
	    ".Sh FILES\n.Bl -tag -width Ds\n.It Pa " CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE
	    "\nThe configuration, where no other is named.\n.El\n"
	    ".Sh EXIT STATUS\n.Bl -tag -width Ds\n.It 0\nFine.\n"
	    ".It 1\nThe configuration is wrong, the start failed, nobody answers,\n"
	    "or what was asked for was refused.\n"
	    ".It 2\nThe command line is wrong.\n"
	    ".It 3\nThere are only warnings, under\n.Fl \\-strict .\n.El\n"
	    ".Sh SIGNALS\n.Bl -tag -width Ds\n.It Dv SIGHUP\nReads the configuration again.\n"
	    ".It Dv SIGUSR1\nOpens the logs again.\n.It Dv SIGUSR2\nWrites the state to the log.\n"
	    ".It Dv SIGTERM , SIGINT , SIGQUIT\nDrains and ends; a second one ends at once.\n.El\n"
	    ".Sh SEE ALSO\n.Xr weir.yaml 5\n");
}

/*---------------------------------------------------------------- weir.yaml.5 */

/* The cells of "| a | b |", without those that are empty at either end; a bar behind a backslash is text. */
static unsigned read_cells(struct slice line, struct slice *cell, unsigned max)
{
	unsigned n = 0;
	size_t from = 1;

	for (size_t i = 1; i < line.n && n < max; i++) {
		if (line.p[i] != '|' || line.p[i - 1] == '\\')
			continue;
		cell[n++] = slice_trim(slice_of(line.p + from, i - from));
		from = i + 1;
	}
	return n;
}

static void put_key(struct buf *out, const struct slice *cell, unsigned n)
{
	struct slice required = SLICE("required");

	buf_puts(out, ".It Cm ");
	/* the key itself has backquotes */
	if (n == 2)
		put_text(out, cell[0], false);
	else
		put_text(out, slice_of(cell[0].p + 1, cell[0].n - 2), false);
	buf_putc(out, '\n');
	if (n == 4) {
		struct buf takes = { 0 };

		buf_puts(&takes, "Takes ");
		buf_put(&takes, cell[1].p, cell[1].n);
		if (slice_eq(cell[2], required))
			buf_puts(&takes, "; required");
		else if (cell[2].n > 0)
			buf_printf(&takes, "; %.*s when not given", SLICE_FMT(cell[2]));
		buf_putc(&takes, '.');
		out->oom |= takes.oom;
		if (!takes.oom)
			put_markdown(out, slice_of(takes.p, takes.n));
		buf_fini(&takes);
	}
	if (cell[n - 1].n > 0)
		put_markdown(out, cell[n - 1]);
}

/* The reference, of which every line is a heading, a row of a table, or text. */
static void put_reference(struct buf *out, struct slice text)
{
	struct slice heading = SLICE("## "), rule = SLICE("|---"), cell[8];
	unsigned rows = 0; /* of the table so far, its head too */

	while (text.n > 0) {
		struct slice line = slice_cut(&text, '\n');
		bool row = line.n > 0 && line.p[0] == '|';
		unsigned n;

		if (rows > 1 && !row)
			buf_puts(out, ".El\n");
		rows = row ? rows : 0;
		if (slice_starts(line, heading)) {
			buf_puts(out, ".Ss ");
			put_line(out, slice_of(line.p + heading.n, line.n - heading.n));
		} else if (slice_starts(line, rule)) {
			buf_puts(out, ".Bl -tag -width Ds\n");
		} else if (row) {
			n = read_cells(line, cell, 8);
			if (rows++ > 0 && n >= 2)
				put_key(out, cell, n);
		} else if (line.n > 0) {
			put_markdown(out, line);
		}
	}
	if (rows > 1)
		buf_puts(out, ".El\n");
}

static void print_weir_yaml_5(struct buf *out)
{
	struct buf reference = { 0 };

	buf_puts(
	    out,
	    ".\\\" made by `weir man weir.yaml.5`\n"
	    ".Dd $Mdocdate$\n.Dt WEIR.YAML 5\n.Os\n.Sh NAME\n.Nm weir.yaml\n"
	    ".Nd configuration of weir\n.Sh DESCRIPTION\n"
	    "One YAML file says all that\n.Xr weir 1\ndoes.\n"
	    "Durations are 250ms, 1h30m or 2d, rates 100/s or 5/10s, sizes 32KiB, shares 50%.\n"
	    "A value ${NAME} comes from the environment, ${NAME:\\-x} with a default,\n"
	    "${file:/path} from a\n"
	    "file; $$ is a dollar.\n"
	    "A changed file takes effect with a reload (SIGHUP,\n.Ql weir ctl reload ,\nor\n"
	    ".Fl \\-watch ) ;\none that is wrong changes nothing.\n"
	    ".Sh EXAMPLES\n.Bd -literal\n"
	    "version: 1\nlisten: 0.0.0.0:8080\nupstreams:\n  app: 127.0.0.1:3000\npolicies:\n"
	    "  per\\-client: { rate: 100/s, burst: 200, key: client.ip }\n"
	    "  in\\-flight:  { concurrency: 64 }\n  guard:      { breaker: 50% }\nroutes:\n"
	    "  \\- to: app\n    use: [per\\-client, in\\-flight, guard]\n.Ed\n.Sh SECTIONS\n");
	schema_reference(&config_schema, &reference);
	put_reference(out, slice_of(reference.p, reference.n));
	out->oom |= reference.oom;
	buf_fini(&reference);
	buf_puts(out, ".Sh SEE ALSO\n.Xr weir 1\n");
}

int cli_man(int argc, char **argv, const struct cli_host *host)
{
	const struct cli_option options[] = { { 0 } };
	struct cli_words words = { .max = 1, .values = "weir.1 weir.yaml.5" };
	struct buf out = { 0 };

	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 1 && strcmp(words.word[0], "weir.1") == 0)
		print_weir_1(&out, host);
	else if (words.n == 1 && strcmp(words.word[0], "weir.yaml.5") == 0)
		print_weir_yaml_5(&out);
	else
		return cli_usage_error("there are weir.1 and weir.yaml.5");
	return cli_put(stdout, &out, STATUS_OK);
}
