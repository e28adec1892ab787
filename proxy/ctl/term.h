/* term.h - a terminal taken over for a while, and given back as it was, however that ends. */
#ifndef CTL_TERM_H
#define CTL_TERM_H

#include <stdbool.h>
#include <termios.h>

#include "base/buf.h"

struct term {
	struct termios before;
	bool taken;
	int signals; /* a descriptor: INT TERM HUP QUIT WINCH TSTP */
	unsigned rows, columns;
};

enum term_key { TERM_NOTHING, TERM_QUIT, TERM_PAUSE, TERM_FASTER, TERM_SLOWER, TERM_REDRAW };

/* False: stdin or stdout is no terminal. */
bool term_open(struct term *);
void term_close(struct term *);
/* Waits until something is typed or that many milliseconds are over. */
enum term_key term_wait(struct term *, int ms);
/* Puts the text on the screen, from its upper left corner: lines that are too long are cut, and so are those that
 * find no place. */
void term_draw(const struct term *, struct slice text);

/* For tests: what term_draw writes. */
void term_frame(unsigned rows, unsigned columns, struct slice text, struct buf *out);

#endif
