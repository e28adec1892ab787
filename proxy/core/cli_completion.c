/* cli_completion.c - completion for shells, made of the tables that the command line is read by. */
#include <string.h>

#include "core/cli_internal.h"

/* What is being written, and of which command. */
struct writer {
	struct buf *out;
	const char *about; /* of the command: where the meaning of an option stands */
	bool values;       /* which of two passes over the options */
	const char *rest;  /* values of arguments that are no options */
};

/* The line of `about` that tells of the option: "  -c, --config FILE   the configuration". */
static struct slice meaning_of(const char *about, const struct cli_option *o)
{
	struct slice rest = slice_str(about == NULL ? "" : about);

	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n');
		const char *at =
		    o->name == NULL ? NULL : memmem(line.p, line.n, o->name, strlen(o->name));
		const char *end = line.p + line.n;

		if (line.n < 2 || line.p[0] != ' ' || at == NULL)
			continue;
		while (at < end && !(at[0] == ' ' && at + 1 < end && at[1] == ' '))
			at++;
		return slice_trim(slice_of(at, (size_t)(end - at)));
	}
	return slice_of("", 0);
}

static bool takes_value(const struct cli_option *o)
{
	return o->flag == NULL;
}

/* Not an option, but what stands behind them all. */
static bool is_rest(const struct cli_option *o)
{
	return o->letter == 0 && o->name == NULL;
}

static bool is_file(const struct cli_option *o)
{
	return o->values != NULL && strcmp(o->values, CLI_FILE) == 0;
}

/*---------------------------------------------------------------------- bash */

static void bash_option(void *arg, const struct cli_option *o)
{
	struct writer *w = arg;

	if (is_rest(o)) {
		w->rest = o->values;
		return;
	}
	if (!w->values && o->name != NULL)
		buf_printf(w->out, " %s", o->name);
	if (!w->values && o->letter != 0 && o->name == NULL)
		buf_printf(w->out, " -%c", o->letter);
	if (!w->values || !takes_value(o) || o->name == NULL)
		return;
	buf_puts(w->out, "\t\t");
	if (o->letter != 0)
		buf_printf(w->out, "-%c|", o->letter);
	if (is_file(o))
		buf_printf(w->out,
			   "%s) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n",
			   o->name);
	else
		buf_printf(w->out, "%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n",
			   o->name, o->values == NULL ? "" : o->values);
}

static void bash_command(struct writer *w, const struct cli_command *c, const char *before,
			 const struct cli_host *host)
{
	buf_printf(w->out, "\t'%s%s')\n\t\twords='", before, c->name);
	w->values = false;
	cli_options_of(c, host, bash_option, w);
	buf_puts(w->out, " --help'\n\t\tcase $prev in\n");
	w->values = true;
	cli_options_of(c, host, bash_option, w);
	buf_printf(w->out, "\t\tesac\n\t\targuments='%s' ;;\n", w->rest == NULL ? "" : w->rest);
}

static void put_names(struct buf *out, const struct cli_command *c)
{
	for (bool first = true; c != NULL && c->name != NULL; c++, first = false)
		buf_printf(out, "%s%s", first ? "" : " ", c->name);
}

static void print_bash(struct writer *w, const struct cli_host *host)
{
	const struct cli_command *all = host->commands;

	buf_puts(w->out, "# bash completion for weir, made by `weir completion bash`\n"
			 "_weir() {\n"
			 "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
			 "words arguments command\n"
			 "\tCOMPREPLY=()\n"
			 "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W '");
	put_names(w->out, all);
	buf_puts(w->out, "' -- \"$cur\")); return\n\tfi\n\tcommand=${COMP_WORDS[1]}\n"
			 "\t# --option=value comes in three words\n"
			 "\tif [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}\n"
			 "\telif [ \"$cur\" = = ]; then cur=; fi\n"
			 "\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n\t\tcase $command in\n"
			 "\t\tctl) COMPREPLY=($(compgen -W '");
	put_names(w->out, host->ctl);
	buf_puts(w->out, "' -- \"$cur\")); return ;;\n"
			 "\t\thelp) COMPREPLY=($(compgen -W '");
	put_names(w->out, all);
	buf_puts(w->out, "' -- \"$cur\")); return ;;\n"
			 "\t\tesac\n\tfi\n"
			 "\t[ \"$command\" != ctl ] || command=\"ctl ${COMP_WORDS[2]}\"\n"
			 "\tcase $command in\n");
	for (const struct cli_command *c = all; c->name != NULL; c++)
		bash_command(w, c, "", host);
	for (const struct cli_command *c = host->ctl; c != NULL && c->name != NULL; c++)
		bash_command(w, c, "ctl ", host);
	buf_puts(w->out, "\tesac\n"
			 "\tcase $cur in\n"
			 "\t-*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
			 "\t*) if [ -n \"$arguments\" ]; then "
			 "COMPREPLY=($(compgen -W \"$arguments\" -- \"$cur\"));\n"
			 "\t   else mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); fi ;;\n"
			 "\tesac\n}\ncomplete -o filenames -F _weir weir\n");
}

/*----------------------------------------------------------------------- zsh */

/* Inside single quotes, and inside brackets of a specification. */
static void zsh_text(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\'')
			buf_puts(out, "'\\''");
		else if (strchr("[]:\\", s.p[i]) != NULL)
			buf_printf(out, "\\%c", s.p[i]);
		else
			buf_putc(out, s.p[i]);
	}
}

static void zsh_one(struct writer *w, const char *name, bool several, const struct cli_option *o)
{
	buf_printf(w->out, " \\\n\t\t\t'%s%s[", several ? "*" : "", name);
	zsh_text(w->out, meaning_of(w->about, o));
	buf_putc(w->out, ']');
	if (is_file(o))
		buf_puts(w->out, ":file:_files");
	else if (takes_value(o) && o->values != NULL)
		buf_printf(w->out, ":value:(%s)", o->values);
	else if (takes_value(o))
		buf_puts(w->out, ":value:");
	buf_putc(w->out, '\'');
}

static void zsh_option(void *arg, const struct cli_option *o)
{
	char letter[3] = { '-', o->letter, '\0' };

	if (is_rest(o))
		((struct writer *)arg)->rest = o->values;
	if (o->letter != 0)
		zsh_one(arg, letter, o->list != NULL, o);
	if (o->name != NULL)
		zsh_one(arg, o->name, o->list != NULL, o);
}

static void zsh_names(struct buf *out, const char *what, const struct cli_command *c)
{
	buf_printf(out, "\t%s=(\n", what);
	for (; c != NULL && c->name != NULL; c++) {
		buf_printf(out, "\t\t'%s:", c->name);
		zsh_text(out, slice_of(c->about, strcspn(c->about, "\n")));
		buf_puts(out, "'\n");
	}
	buf_puts(out, "\t)\n");
}

static void zsh_command(struct writer *w, const struct cli_command *c, const char *before,
			const struct cli_host *host)
{
	w->about = c->about;
	buf_printf(w->out, "\t'%s%s')\n\t\t_arguments -s", before, c->name);
	cli_options_of(c, host, zsh_option, w);
	buf_printf(w->out, " \\\n\t\t\t'*:argument:%s%s%s' ;;\n", w->rest == NULL ? "_files" : "(",
		   w->rest == NULL ? "" : w->rest, w->rest == NULL ? "" : ")");
}

static void print_zsh(struct writer *w, const struct cli_host *host)
{
	const struct cli_command *all = host->commands;

	buf_puts(w->out, "#compdef weir\n# zsh completion for weir, made by `weir completion zsh`\n"
			 "_weir() {\n\tlocal -a commands ctl\n\tlocal command\n");
	zsh_names(w->out, "commands", all);
	zsh_names(w->out, "ctl", host->ctl);
	buf_puts(w->out, "\tif (( CURRENT == 2 )); then _describe command commands; return; fi\n"
			 "\tcommand=$words[2]\n"
			 "\tif (( CURRENT == 3 )); then\n\t\tcase $command in\n"
			 "\t\tctl) _describe command ctl; return ;;\n"
			 "\t\thelp) _describe command commands; return ;;\n"
			 "\t\tesac\n\tfi\n"
			 "\tshift words; (( CURRENT-- ))\n"
			 "\tif [[ $command == ctl ]]; then command=\"ctl $words[2]\"; shift words; "
			 "(( CURRENT-- )); fi\n"
			 "\tcase $command in\n");
	for (const struct cli_command *c = all; c->name != NULL; c++)
		zsh_command(w, c, "", host);
	for (const struct cli_command *c = host->ctl; c != NULL && c->name != NULL; c++)
		zsh_command(w, c, "ctl ", host);
	buf_puts(w->out, "\tesac\n}\nif [[ $funcstack[1] == _weir ]]; then _weir \"$@\"; else "
			 "compdef _weir weir; fi\n");
}

int cli_completion(int argc, char **argv, const struct cli_host *host)
{
	const struct cli_option options[] = { { 0 } };
	struct cli_words words = { .max = 1, .values = "bash zsh" };
	struct buf out = { 0 };
	struct writer w = { .out = &out };

	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 1 && strcmp(words.word[0], "bash") == 0)
		print_bash(&w, host);
	else if (words.n == 1 && strcmp(words.word[0], "zsh") == 0)
		print_zsh(&w, host);
	else
		return cli_usage_error("completion is for bash or zsh");
	return cli_put(stdout, &out, STATUS_OK);
}
