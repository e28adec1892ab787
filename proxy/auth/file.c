/* file.c - what the configuration names, or a finding. */
#include "auth/file.h"

#include "conf/file.h"

bool auth_file_read(const char *path, size_t max, struct place at, struct arena *arena,
		    struct diags *diags, struct slice *out)
{
	const char *why;

	if (file_read(path, FILE_REGULAR, max, arena, out, NULL, &why))
		return true;
	if (why == NULL)
		diags_out_of_memory(diags);
	else
		diag_error(diags, at, "E018", "%s cannot be read: %s", path, why);
	return false;
}
