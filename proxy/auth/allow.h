/* allow.h - the API keys that are known, by their SHA-256: no file and no memory holds a key. */
#ifndef AUTH_ALLOW_H
#define AUTH_ALLOW_H

#include "auth/auth_conf.h"

enum {
	ALLOW_KEYS_MAX = 100000,
	ALLOW_FILE_BYTES = 16 * 1024 * 1024,
	ALLOW_HASH_BYTES = 32,
};

struct allow_list {
	bool any; /* every key will do */
	uint32_t n, cap;
	uint8_t (*hash)[ALLOW_HASH_BYTES]; /* sorted */
};

/* 64 hex digits, "sha256:" before them or not.  out may be NULL. */
bool allow_parse(struct slice, uint8_t out[ALLOW_HASH_BYTES]);
/* Reads the files among conf->allow.  False after findings. */
bool allow_list_open(struct allow_list *, const struct api_key_conf *, struct diags *);
void allow_list_fini(struct allow_list *);
bool allow_list_has(const struct allow_list *, const uint8_t hash[ALLOW_HASH_BYTES]);
void allow_list_files(const struct api_key_conf *, void (*visit)(void *arg, const char *path),
		      void *arg);

#endif
