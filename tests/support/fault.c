/* A disk that fails when it is told to: stands in front of libc's writes and syncs of one database's files.
 *
 * LD_PRELOADed into a server's process. FAULT_FILE names a file of three 64-bit numbers that the test shares: how many
 * operations there were, at which of them to fail (0: never), and how: 1 die before it, 2 die in the middle of it,
 * 3 input/output error, 4 disk full. FAULT_MATCH is a part of the names of the files that count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

struct shared { int64_t count, at, kind; };
static struct shared *shared;
static const char *match;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULT_FILE");
    match = getenv("FAULT_MATCH");
    int descriptor = name ? open(name, O_RDWR) : -1;
    if (descriptor < 0 || !match) return;
    void *found = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (found != MAP_FAILED) shared = found;
    close(descriptor);
}

static int counts(int descriptor) {
    char link[64], path[4096];
    if (!shared) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, match) != NULL;
}

/* The kind of fault that is due at this operation, or 0. */
static int64_t due(int descriptor) {
    if (!counts(descriptor)) return 0;
    int64_t number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    if (!shared->at || number < shared->at) return 0;
    if (shared->kind <= 2 && number > shared->at) return 0;
    return shared->kind;
}

static int fail(int64_t kind) {
    if (kind <= 2) kill(getpid(), SIGKILL);
    errno = kind == 3 ? EIO : ENOSPC;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    int64_t kind = due(descriptor);
    if (kind == 2) REAL(pwrite64)(descriptor, data, size / 2, at);
    return kind ? fail(kind) : REAL(pwrite64)(descriptor, data, size, at);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    int64_t kind = due(descriptor);
    if (kind == 2) REAL(pwrite)(descriptor, data, size / 2, at);
    return kind ? fail(kind) : REAL(pwrite)(descriptor, data, size, at);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    int64_t kind = due(descriptor);
    if (kind == 2) REAL(write)(descriptor, data, size / 2);
    return kind ? fail(kind) : REAL(write)(descriptor, data, size);
}

/* A full disk syncs what it has. */
int fdatasync(int descriptor) {
    int64_t kind = due(descriptor);
    return kind && kind != 4 ? fail(kind) : REAL(fdatasync)(descriptor);
}

int fsync(int descriptor) {
    int64_t kind = due(descriptor);
    return kind && kind != 4 ? fail(kind) : REAL(fsync)(descriptor);
}
