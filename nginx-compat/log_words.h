/* log_words.h - what nginx says of what befalls calls, for logs of events in its place. */
#ifndef NGINX_COMPAT_LOG_WORDS_H
#define NGINX_COMPAT_LOG_WORDS_H

/* From here on; before there are workers. */
void log_words_use(void);

#endif
