/* file.h - a whole file, within a bound. */
#ifndef CONF_FILE_H
#define CONF_FILE_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/buf.h"

/* FILE_ANY: pipes and the like, too. */
enum file_want { FILE_ANY, FILE_REGULAR };

struct file_id {
	dev_t dev;
	ino_t ino;
};

/* At most `max` bytes, behind what is in the buffer.  `id`: which file it was; may be NULL.  False:
 * *why says what is wrong with it; NULL: memory is out. */
bool file_load(const char *path, enum file_want, size_t max, struct buf *, struct file_id *id,
	       const char **why);
/* The same, in an arena. */
bool file_read(const char *path, enum file_want, size_t max, struct arena *, struct slice *text,
	       struct file_id *id, const char **why);

#endif
