/* scan.c - the table of characters. */
#include "http/scan.h"

#define T      CH_TOKEN
#define G      CH_TARGET
#define H      CH_HOST
#define LETTER (T | G | H | CH_UNRESERVED)

const uint8_t char_flags[256] = {
	['!'] = T | G | H,
	['"'] = G,
	['#'] = T,
	['$'] = T | G | H,
	['%'] = T | G,
	['&' ... '\''] = T | G | H,
	['(' ... ')'] = G | H,
	['*' ... '+'] = T | G | H,
	[','] = G | H,
	['-' ... '.'] = LETTER,
	['/'] = G,
	['0' ... '9'] = LETTER | CH_HEX | CH_DIGIT,
	[':'] = G | CH_SEGMENT,
	[';'] = G | H,
	['<'] = G,
	['='] = G | H,
	['>' ... '?'] = G,
	['@'] = G | CH_SEGMENT,
	['A' ... 'F'] = LETTER | CH_HEX,
	['G' ... 'Z'] = LETTER,
	['[' ... ']'] = G,
	['^'] = T | G,
	['_'] = LETTER,
	['`'] = T | G,
	['a' ... 'f'] = LETTER | CH_HEX,
	['g' ... 'z'] = LETTER,
	['{'] = G,
	['|'] = T | G,
	['}'] = G,
	['~'] = LETTER,
};
