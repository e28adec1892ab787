/* The PROXY protocol: any bytes, and what a prefix says must agree with what the whole says. */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "io/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of((const char *)data, size);
	struct proxy_info whole, part;
	char text[ADDR_TEXT_MAX];
	int used = proxy_protocol_parse(in, &whole);

	CHECK(used >= -1 && used <= PROXY_PROTOCOL_MAX_BYTES && (used < 0 || (size_t)used <= size));
	if (used <= 0)
		return 0;
	CHECK(proxy_protocol_parse(slice_of(in.p, (size_t)used), &part) == used);
	CHECK(proxy_protocol_parse(slice_of(in.p, (size_t)used - 1), &part) == 0);
	if (whole.has_source) {
		addr_format(&whole.source, text);
		addr_format(&whole.destination, text);
	}
	return 0;
}
