/* date.c - dates of HTTP; see date.h. */
#include "http/date.h"

#include <string.h>
#include <time.h>

enum { TEXT_BYTES = 40 };

bool date_parse(struct slice s, int64_t *out)
{
	static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT",
					     "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y" };
	char text[TEXT_BYTES];

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, forms[i], &tm);

		if (end == NULL || *end != '\0')
			continue;
		*out = timegm(&tm);
		return *out >= 0;
	}
	return false;
}

struct slice date_put(char out[DATE_BYTES], int64_t s)
{
	time_t t = (time_t)s;
	struct tm tm;
	size_t n = 0;

	if (gmtime_r(&t, &tm) != NULL && tm.tm_year < 10000 - 1900 && tm.tm_year > -900)
		n = strftime(out, DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return slice_of(out, n);
}
