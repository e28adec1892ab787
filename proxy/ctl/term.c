/* term.c - plain ANSI: the other screen, no cursor, keys as they come. */
#include "ctl/term.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/slice.h"
#include "ctl/table.h"

static const char enter[] = "\033[?1049h\033[?25l\033[2J", leave[] = "\033[?25h\033[?1049l";

static void say(const char *text, size_t n)
{
	while (n > 0) {
		ssize_t done = write(STDOUT_FILENO, text, n);

		if (done <= 0)
			return; /* the terminal has gone: a signal tells */
		text += done;
		n -= (size_t)done;
	}
}

static void measure(struct term *t)
{
	struct winsize w;
	bool ok = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 && w.ws_col > 0;

	t->rows = ok ? w.ws_row : 24;
	t->columns = ok ? w.ws_col : 80;
}

static void take(struct term *t)
{
	struct termios raw = t->before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
	say(enter, sizeof(enter) - 1);
	t->taken = true;
}

static void give_back(struct term *t)
{
	if (!t->taken)
		return;
	say(leave, sizeof(leave) - 1);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &t->before);
	t->taken = false;
}

static void fill_set(sigset_t *set)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		sigaddset(set, all[i]);
}

/* It has no other screen, and shows escapes as they are. */
static bool is_dumb(void)
{
	const char *term = getenv("TERM");

	return term != NULL && strcmp(term, "dumb") == 0;
}

bool term_open(struct term *t)
{
	sigset_t set;

	*t = (struct term){ .signals = -1 };
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || is_dumb() ||
	    tcgetattr(STDIN_FILENO, &t->before) != 0)
		return false;
	fill_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	measure(t);
	take(t);
	return true;
}

void term_close(struct term *t)
{
	sigset_t set;

	give_back(t);
	if (t->signals < 0)
		return;
	fill_set(&set);
	close(t->signals);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* As a program that knows nothing of terminals would, which the shell expects. */
static void stop(struct term *t)
{
	give_back(t);
	raise(SIGSTOP);
	measure(t);
	take(t);
}

static enum term_key on_signal(struct term *t)
{
	struct signalfd_siginfo si;
	enum term_key key = TERM_NOTHING;

	while (read(t->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGWINCH) {
			measure(t);
			key = TERM_REDRAW;
		} else if (si.ssi_signo == SIGTSTP) {
			stop(t);
			key = TERM_REDRAW;
		} else {
			return TERM_QUIT;
		}
	}
	return key;
}

static enum term_key on_typed(void)
{
	static const struct {
		char c;
		enum term_key key;
	} keys[] = { { 'q', TERM_QUIT },   { 'Q', TERM_QUIT },  { 3, TERM_QUIT },
		     { ' ', TERM_PAUSE },  { 'p', TERM_PAUSE }, { '+', TERM_SLOWER },
		     { '-', TERM_FASTER }, { 12, TERM_REDRAW } };
	char c;
	ssize_t n = read(STDIN_FILENO, &c, 1);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return TERM_QUIT; /* nobody will ever type anything */
	for (size_t i = 0; n == 1 && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].c == c)
			return keys[i].key;
	return TERM_REDRAW; /* looks come at their pace, whatever is typed */
}

enum term_key term_wait(struct term *t, int ms)
{
	struct pollfd p[2] = { { .fd = t->signals, .events = POLLIN },
			       { .fd = STDIN_FILENO, .events = POLLIN } };

	if (poll(p, 2, ms) <= 0)
		return TERM_NOTHING;
	if (p[0].revents)
		return on_signal(t);
	return on_typed();
}

/* How many bytes of it a line of that many columns has room for; escapes take none. */
static size_t cut(struct slice s, unsigned columns)
{
	size_t i = 0, n;
	unsigned width;

	while (i < s.n) {
		if (s.p[i] == '\033') {
			while (i < s.n && s.p[i] != 'm')
				i++;
			i += i < s.n;
			continue;
		}
		width = columns_of(slice_of(s.p + i, s.n - i), &n);
		if (width > columns)
			break;
		columns -= width;
		i += n;
	}
	return i;
}

void term_frame(unsigned rows, unsigned columns, struct slice text, struct buf *out)
{
	buf_puts(out, "\033[H");
	for (unsigned row = 0; row < rows && text.n > 0; row++) {
		struct slice one = slice_cut(&text, '\n');

		buf_puts(out, row > 0 ? "\r\n" : "");
		buf_put(out, one.p, cut(one, columns));
		buf_puts(out, "\033[0m\033[K");
	}
	buf_puts(out, "\033[J");
}

void term_draw(const struct term *t, struct slice text)
{
	struct buf out = { 0 };

	term_frame(t->rows, t->columns, text, &out);
	if (!out.oom)
		say(out.p, out.n);
	buf_fini(&out);
}
