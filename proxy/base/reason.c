/* reason.c - the table made from reason.def. */
#include "base/reason.h"

const struct reason reason_table[REASON_COUNT] = {
#define R(name_, status_, flags_, text_)                                                           \
	[REASON_##name_] = { .token = #name_,                                                      \
			     .text = text_,                                                        \
			     .status = status_,                                                    \
			     .flags = flags_,                                                      \
			     .index = REASON_##name_ },
#include "base/reason.def"
#undef R
};

#define R(name_, status_, flags_, text_)                                                           \
	const struct reason *const reason_##name_ = &reason_table[REASON_##name_];
#include "base/reason.def"
#undef R
