#ifndef PARLEY_CCRYPT_H
#define PARLEY_CCRYPT_H

// Password hashes of the system: in libcrypt on Linux, in the C library on macOS.
#include <stddef.h>
#include <string.h>
#if defined(__APPLE__)
#include <unistd.h>
#else
#include <crypt.h>
#endif

// The hash of `password` with the scheme and salt that `setting` begins with, written to `output` with its NUL.
// 0 when there is none, or it has no room. Its state is on the stack (32 kB) and wiped; the caller holds a lock where
// the system has no reentrant function (macOS).
static inline int parley_crypt(const char *password, const char *setting, char *output, size_t size) {
#if defined(__APPLE__)
    const char *hash = crypt(password, setting);
#else
    struct crypt_data state;
    memset(&state, 0, sizeof state);
    const char *hash = crypt_r(password, setting, &state);
#endif
    int written = 0;
    if (hash != NULL && strlen(hash) < size) {
        memcpy(output, hash, strlen(hash) + 1);
        written = 1;
    }
#if !defined(__APPLE__)
    explicit_bzero(&state, sizeof state);
#endif
    return written;
}

#endif
