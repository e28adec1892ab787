/* file.h - a whole file, within a bound. */
#ifndef AUTH_FILE_H
#define AUTH_FILE_H

#include "conf/diag.h"

/* False after a finding. */
bool auth_file_read(const char *path, size_t max, struct place at, struct arena *, struct diags *,
		    struct slice *out);

#endif
