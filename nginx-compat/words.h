/* words.h - nginx's grammar: a text as runs of words that end with `;`, `{` or stand before `}`.
 *
 * The rules are those of nginx itself: words are separated by white space; in quotes, white space, `;`, `{` and `}` are
 * part of a word; `\` takes its meaning from the next character; `${` opens no block; behind a closing quote there must
 * be white space, `;`, `{` or `)`. */
#ifndef NGINX_COMPAT_WORDS_H
#define NGINX_COMPAT_WORDS_H

#include "nginx-compat/tree.h"

enum words_end { WORDS_WRONG, WORDS_LINE, WORDS_OPEN, WORDS_CLOSE, WORDS_FILE_END };

struct words {
	struct tree *tree; /* errors go there, words into its arena */
	const char *file;
	struct slice text;
	size_t at;
	uint32_t line, first_line; /* of the first word of the run */
	uint32_t n;
	struct slice word[TREE_ARGS_MAX];
};

void words_init(struct words *, struct tree *, const char *file, struct slice text);
/* The next run. */
enum words_end words_next(struct words *);
/* Behind the `{` of a block whose content is a program in Lua: takes it up to its `}`.  False: there is none. */
bool words_skip_lua(struct words *, struct slice *program);

#endif
