/* wire.h - what the floor, the backend and the load generator share: loopback sockets, a trusting
 * HTTP/1.1 head reader, a chunked decoder and a latency histogram.
 *
 * Trusting on purpose: both ends of a measurement are ours, so nothing here checks what a proxy
 * must check. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_READ_BYTES = 65536, WIRE_EVENTS = 512 };

/* Prints to stderr and exits 1: a benchmark that cannot do what it was told must not print figures.
 */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

uint64_t now_ns(void); /* CLOCK_MONOTONIC, which all processes of a machine share */
int timeout_ms_until(uint64_t due_ns, uint64_t now);

/* Raises RLIMIT_NOFILE to its hard limit. */
void raise_file_limit(void);
/* A listening or connecting non-blocking socket on 127.0.0.1; port 0: the kernel chooses.  Dies on
 * failure. */
int listen_on(uint16_t port);
uint16_t port_of(int fd);
int connect_to(uint16_t port);
/* The next connection, non-blocking, or -1 when there is none. */
int accept_from(int listener);
uint16_t port_parse(const char *text);
uint64_t number_parse(const char *text);

/* A request or response head.  `method` and `target` borrow from the bytes that were parsed. */
struct wire_head {
	size_t bytes; /* of the head, with its empty line */
	int status;   /* 0 in a request */
	bool chunked, has_length, closes;
	uint64_t length;
	const char *target; /* up to the blank after it */
};

/* False: the head is not complete yet. */
bool wire_head_read(const char *bytes, size_t size, struct wire_head *);

/* A chunked body, fed as it comes.  `left` counts the bytes of the chunk that are still to come. */
struct wire_chunks {
	int state;
	uint64_t left;
	bool last, line_empty;
};

/* Consumes up to size bytes; a run of body bytes that was found is put in data and data_size (0:
 * none in this step). To be called until all is consumed or wire_chunks_done(). */
size_t wire_chunks_step(struct wire_chunks *, const char *bytes, size_t size, const char **data,
			size_t *data_size);
bool wire_chunks_done(const struct wire_chunks *);

/* Nanoseconds, log-linear: 128 steps to each doubling, so that a percentile is within 0.8 %. */
struct histogram {
	uint64_t count;
	uint32_t cells[40 * 128];
};

void histogram_add(struct histogram *, uint64_t value_ns);
double histogram_percentile_us(const struct histogram *, double percentile);

#endif
