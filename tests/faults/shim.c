/* Numbers the file operations below one folder, writes them down, and breaks one of them.

   Loaded into a program by LD_PRELOAD, it stands between all of the program, its compiled libraries and its child
   processes too, and the C library. An operation changes what is on disk, or makes it last: to open a file for writing,
   to write, truncate, sync, rename, link, remove, to make or remove a folder. Each gets the next number under one lock,
   so that the numbers of a run are those of the order in which things happened, in all processes.

   A folder of its own holds the state of a run: the file "state", mapped by every process, with the count, the order
   to break and the list of operations; and "synced/N", what was in the file that operation N synced, where contents
   are kept. "prepare" makes it; "watch" begins to watch, and so does the start of a process with FAULTS in its
   environment.

   Not seen: writes through stdio (the opening is), which no library here uses for its output, and io_uring. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PASS, KILL, TEAR, FAIL, FILL }; /* FILL: this and all that needs room from here on fails */
enum { LOG_BYTES = 16 << 20 };

struct state {
    int64_t count, used; /* operations so far; bytes of the list */
    int64_t at;
    int32_t how, number, keep; /* number: what errno says; keep: whether to keep what is synced */
    char root[PATH_MAX], folder[PATH_MAX];
    pthread_mutex_t lock;
    char log[LOG_BYTES];
};

static struct state *state;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static struct state *mapped(const char *folder, int flags) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/state", folder);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return NULL;
    if (flags && syscall(SYS_ftruncate, fd, sizeof(struct state))) return NULL;
    void *there = (void *)syscall(SYS_mmap, NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    return there == MAP_FAILED ? NULL : there;
}

/* Makes the state of a run that breaks operation "at" below "root"; 0 if it could. Neither path may have links in it. */
int prepare(const char *folder, const char *root, long at, int how, int number, int keep) {
    struct state *new = mapped(folder, O_CREAT | O_EXCL);
    if (!new) return -1;
    new->at = at, new->how = how, new->number = number, new->keep = keep;
    snprintf(new->root, PATH_MAX, "%s", root);
    snprintf(new->folder, PATH_MAX, "%s", folder);
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&new->lock, &kind);
    munmap(new, sizeof *new);
    return 0;
}

int watch(const char *folder) {
    state = mapped(folder, 0);
    return state ? 0 : -1;
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("FAULTS");
    if (folder && watch(folder)) {
        dprintf(2, "faults: %s holds no state\n", folder);
        _exit(99);
    }
}

/* ---- where an operation is ------------------------------------------------------------------------------------ */

static int below(const char *path) {
    size_t length = strlen(state->root);
    return !strncmp(path, state->root, length) && (path[length] == '/' || !path[length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

/* The path that a name means, its last part left as it is; 0 where that is not below the watched folder. */
static int find(int at, const char *name, char *path) {
    if (!state || !name || !*name) return 0;
    int before = errno;
    char whole[2 * PATH_MAX], parent[PATH_MAX];
    if (*name == '/')
        snprintf(whole, sizeof whole, "%s", name);
    else {
        if (at == AT_FDCWD ? !getcwd(parent, sizeof parent) : !path_of(at, parent)) return errno = before, 0;
        snprintf(whole, sizeof whole, "%s/%s", parent, name);
    }
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/';) whole[--end] = 0;
    char *last = strrchr(whole, '/');
    *last++ = 0;
    int found = realpath(*whole ? whole : "/", parent) && snprintf(path, PATH_MAX, "%s/%s", parent, last) < PATH_MAX;
    errno = before;
    return found && below(path);
}

static int find_open(int fd, char *path) {
    if (!state) return 0;
    int before = errno, found = path_of(fd, path);
    errno = before;
    return found && below(path);
}

/* ---- what becomes of it ----------------------------------------------------------------------------------------- */

static void die(void) {
    kill(0, SIGKILL); /* the command and its workers */
    for (;;) pause();
}

static void keep_synced(int fd) {
    char path[PATH_MAX + 64], block[1 << 16];
    snprintf(path, sizeof path, "%s/synced/%ld", state->folder, (long)state->count);
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int from = syscall(SYS_openat, AT_FDCWD, self, O_RDONLY | O_CLOEXEC, 0);
    int to = syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = -1;
    while (from >= 0 && to >= 0 && (n = syscall(SYS_read, from, block, sizeof block)) > 0)
        if (syscall(SYS_write, to, block, n) != n) n = -1;
    if (n < 0) {
        dprintf(2, "faults: %s cannot be kept\n", path);
        die();
    }
    syscall(SYS_close, from);
    syscall(SYS_close, to);
}

/* Whether an operation takes room on a disk: when it is full, these fail. */
static int needs_room(const char *kind) {
    static const char *const kinds[] = {"create", "write", "truncate", "allocate", "mkdir", "link", "fsync", NULL};
    for (int i = 0; kinds[i]; i++)
        if (!strcmp(kinds[i], kind)) return 1;
    return 0;
}

/* Numbers an operation and holds the lock. 1 where the caller shall do it, 0 where it has failed (errno says how), and
   -1 for a write of which half shall be done: then "leave" kills. */
static int enter(const char *kind, const char *path, const char *other, int64_t size) {
    int before = errno;
    if (pthread_mutex_lock(&state->lock) == EOWNERDEAD) pthread_mutex_consistent(&state->lock);
    int64_t number = ++state->count;
    int64_t room = LOG_BYTES - state->used;
    int64_t length = snprintf(state->log + state->used, room, "%s\t%s\t%s\t%ld\n", kind, path, other, (long)size);
    if (length >= room) {
        dprintf(2, "faults: more operations than the list holds\n");
        die();
    }
    state->used += length;
    errno = before;
    int broken = state->how == FILL ? number >= state->at && needs_room(kind) : number == state->at;
    if (!broken || state->how == PASS) return 1;
    if (state->how == TEAR && !strcmp(kind, "write") && size > 1) return -1;
    if (state->how == KILL || state->how == TEAR) die();
    pthread_mutex_unlock(&state->lock);
    errno = state->number;
    return 0;
}

static void leave(int go) {
    if (go < 0) die();
    int before = errno;
    pthread_mutex_unlock(&state->lock);
    errno = before;
}

#define DO(kind, path, other, size, type, call)             \
    {                                                       \
        int go = enter(kind, path, other, size);            \
        if (!go) return (type)-1;                           \
        type done = call;                                   \
        leave(go);                                          \
        return done;                                        \
    }

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static const char *opening(const char *path, int flags) {
    if (!(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return NULL;
    struct stat there;
    if (fstatat(AT_FDCWD, path, &there, 0)) return flags & O_CREAT ? "create" : NULL;
    if (flags & O_EXCL) return NULL;
    return flags & O_TRUNC ? "truncate" : (flags & O_ACCMODE) == O_RDONLY ? NULL : "open";
}

#define OPENED(name, declared, at, path, flags, ...)                   \
    int name declared {                                                \
        mode_t mode = 0;                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                         \
            va_list more;                                              \
            va_start(more, flags);                                     \
            mode = va_arg(more, mode_t);                               \
            va_end(more);                                              \
        }                                                              \
        char found[PATH_MAX];                                          \
        int before = errno;                                            \
        const char *kind = find(at, path, found) ? opening(found, flags) : NULL; \
        errno = before;                                                \
        if (!kind) return REAL(name)(__VA_ARGS__, flags, mode);        \
        DO(kind, found, "", 0, int, REAL(name)(__VA_ARGS__, flags, mode)) \
    }

OPENED(open, (const char *path, int flags, ...), AT_FDCWD, path, flags, path)
OPENED(open64, (const char *path, int flags, ...), AT_FDCWD, path, flags, path)
OPENED(openat, (int at, const char *path, int flags, ...), at, path, flags, at, path)
OPENED(openat64, (int at, const char *path, int flags, ...), at, path, flags, at, path)

/* Those that glibc puts in where a program is compiled with checks. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int at, const char *path, int flags) { return openat(at, path, flags); }
int __openat64_2(int at, const char *path, int flags) { return openat64(at, path, flags); }
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int stdio_flags(const char *mode) {
    int flags = strchr(mode, '+') ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
    return flags | (*mode == 'w' ? O_CREAT | O_TRUNC : *mode == 'a' ? O_CREAT : 0);
}

#define FOPENED(name)                                                                \
    FILE *name(const char *path, const char *mode) {                                 \
        char found[PATH_MAX];                                                        \
        const char *kind = find(AT_FDCWD, path, found) ? opening(found, stdio_flags(mode)) : NULL; \
        if (!kind) return REAL(name)(path, mode);                                    \
        int go = enter(kind, found, "stdio", 0);                                     \
        if (!go) return NULL;                                                        \
        FILE *done = REAL(name)(path, mode);                                         \
        leave(go);                                                                   \
        return done;                                                                 \
    }

FOPENED(fopen)
FOPENED(fopen64)

/* ---- writing ---------------------------------------------------------------------------------------------------- */

#define WRITTEN(name, declared, fd, size, whole, half)           \
    ssize_t name declared {                                      \
        char path[PATH_MAX];                                     \
        if (!find_open(fd, path)) return REAL(name) whole;       \
        int64_t n = size;                                        \
        int go = enter("write", path, "", n);                    \
        if (!go) return -1;                                      \
        ssize_t done = go > 0 ? REAL(name) whole : (n /= 2, half); \
        leave(go);                                               \
        return done;                                             \
    }

static int64_t bytes_of(const struct iovec *pieces, int count) {
    int64_t n = 0;
    for (int i = 0; i < count; i++) n += pieces[i].iov_len;
    return n;
}

/* Half of a gathered write is its first half of pieces, or half of the only one. */
#define HALF_OF(pieces, count) count > 1 ? pieces : &(struct iovec){pieces->iov_base, pieces->iov_len / 2}, count > 1 ? count / 2 : 1

WRITTEN(write, (int fd, const void *from, size_t size), fd, size, (fd, from, size), REAL(write)(fd, from, n))
WRITTEN(pwrite, (int fd, const void *from, size_t size, off_t place), fd, size, (fd, from, size, place),
        REAL(pwrite)(fd, from, n, place))
WRITTEN(pwrite64, (int fd, const void *from, size_t size, off64_t place), fd, size, (fd, from, size, place),
        REAL(pwrite64)(fd, from, n, place))
WRITTEN(writev, (int fd, const struct iovec *pieces, int count), fd, bytes_of(pieces, count), (fd, pieces, count),
        REAL(writev)(fd, HALF_OF(pieces, count)))
WRITTEN(pwritev, (int fd, const struct iovec *pieces, int count, off_t place), fd, bytes_of(pieces, count),
        (fd, pieces, count, place), REAL(pwritev)(fd, HALF_OF(pieces, count), place))
WRITTEN(pwritev64, (int fd, const struct iovec *pieces, int count, off64_t place), fd, bytes_of(pieces, count),
        (fd, pieces, count, place), REAL(pwritev64)(fd, HALF_OF(pieces, count), place))
WRITTEN(pwritev2, (int fd, const struct iovec *pieces, int count, off_t place, int flags), fd, bytes_of(pieces, count),
        (fd, pieces, count, place, flags), REAL(pwritev2)(fd, HALF_OF(pieces, count), place, flags))
WRITTEN(sendfile, (int to, int from, off_t *place, size_t size), to, size, (to, from, place, size),
        REAL(sendfile)(to, from, place, n))
WRITTEN(sendfile64, (int to, int from, off64_t *place, size_t size), to, size, (to, from, place, size),
        REAL(sendfile64)(to, from, place, n))
WRITTEN(copy_file_range, (int from, off64_t *begin, int to, off64_t *place, size_t size, unsigned flags), to, size,
        (from, begin, to, place, size, flags), REAL(copy_file_range)(from, begin, to, place, n, flags))

#define ON_OPEN(name, declared, fd, kind, size, ...)                   \
    int name declared {                                                \
        char path[PATH_MAX];                                           \
        if (!find_open(fd, path)) return REAL(name)(__VA_ARGS__);      \
        DO(kind, path, "", size, int, REAL(name)(__VA_ARGS__))         \
    }

ON_OPEN(ftruncate, (int fd, off_t size), fd, "truncate", size, fd, size)
ON_OPEN(ftruncate64, (int fd, off64_t size), fd, "truncate", size, fd, size)
ON_OPEN(fallocate, (int fd, int mode, off_t at, off_t size), fd, "allocate", at + size, fd, mode, at, size)
ON_OPEN(fallocate64, (int fd, int mode, off64_t at, off64_t size), fd, "allocate", at + size, fd, mode, at, size)
ON_OPEN(sync_file_range, (int fd, off64_t at, off64_t size, unsigned flags), fd, "hint", size, fd, at, size, flags)

/* These return what went wrong, and leave errno alone. */
#define ALLOCATED(name, offset)                                                  \
    int name(int fd, offset at, offset size) {                                   \
        char path[PATH_MAX];                                                     \
        if (!find_open(fd, path)) return REAL(name)(fd, at, size);               \
        int go = enter("allocate", path, "", at + size);                         \
        if (!go) return errno;                                                   \
        int done = REAL(name)(fd, at, size);                                     \
        leave(go);                                                               \
        return done;                                                             \
    }

ALLOCATED(posix_fallocate, off_t)
ALLOCATED(posix_fallocate64, off64_t)

#define TRUNCATED(name, offset)                                                      \
    int name(const char *path, offset size) {                                        \
        char found[PATH_MAX];                                                        \
        if (!find(AT_FDCWD, path, found)) return REAL(name)(path, size);             \
        DO("truncate", found, "", size, int, REAL(name)(path, size))                 \
    }

TRUNCATED(truncate, off_t)
TRUNCATED(truncate64, off64_t)

#define MAPPED(name, offset)                                                                         \
    void *name(void *place, size_t size, int protection, int flags, int fd, offset at) {             \
        char path[PATH_MAX];                                                                         \
        if (fd < 0 || !(flags & MAP_SHARED) || !(protection & PROT_WRITE) || !find_open(fd, path))   \
            return (void *)syscall(SYS_mmap, place, size, protection, flags, fd, at);                \
        DO("map", path, "", size, void *, (void *)syscall(SYS_mmap, place, size, protection, flags, fd, at)) \
    }

MAPPED(mmap, off_t)
MAPPED(mmap64, off64_t)

/* ---- making it last --------------------------------------------------------------------------------------------- */

#define SYNCED(name)                                                         \
    int name(int fd) {                                                       \
        char path[PATH_MAX];                                                 \
        if (!find_open(fd, path)) return REAL(name)(fd);                     \
        struct stat there;                                                   \
        int folder = !fstat(fd, &there) && S_ISDIR(there.st_mode);           \
        int go = enter(folder ? "fsyncdir" : "fsync", path, "", 0);          \
        if (!go) return -1;                                                  \
        if (state->keep && !folder) keep_synced(fd);                         \
        leave(go); /* The real one would only cost time: what lasts is told from the list. */ \
        return 0;                                                            \
    }

SYNCED(fsync)
SYNCED(fdatasync)

/* ---- names ------------------------------------------------------------------------------------------------------ */

static int moved(int at, const char *from, int to_at, const char *to, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    int first = find(at, from, a), second = find(to_at, to, b);
    if (!first && !second) return syscall(SYS_renameat2, at, from, to_at, to, flags);
    DO("rename", first ? a : "-", second ? b : "-", flags, int, syscall(SYS_renameat2, at, from, to_at, to, flags))
}

int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int at, const char *from, int to_at, const char *to) { return moved(at, from, to_at, to, 0); }
int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    return moved(at, from, to_at, to, flags);
}

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    if (!find(to_at, to, b)) return syscall(SYS_linkat, at, from, to_at, to, flags);
    DO("link", find(at, from, a) ? a : "-", b, 0, int, syscall(SYS_linkat, at, from, to_at, to, flags))
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int symlinkat(const char *from, int at, const char *to) {
    char b[PATH_MAX];
    if (!find(at, to, b)) return syscall(SYS_symlinkat, from, at, to);
    DO("symlink", b, from, 0, int, syscall(SYS_symlinkat, from, at, to))
}

int symlink(const char *from, const char *to) { return symlinkat(from, AT_FDCWD, to); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    struct stat there;
    int before = errno, missing = !find(at, name, path) || fstatat(AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW);
    errno = before;
    if (missing) return syscall(SYS_unlinkat, at, name, flags);
    DO(flags & AT_REMOVEDIR ? "rmdir" : "unlink", path, "", 0, int, syscall(SYS_unlinkat, at, name, flags))
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    struct stat there;
    int before = errno, nothing = !find(at, name, path) || !fstatat(AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW);
    errno = before;
    if (nothing) return syscall(SYS_mkdirat, at, name, mode);
    DO("mkdir", path, "", 0, int, syscall(SYS_mkdirat, at, name, mode))
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int remove(const char *name) {
    struct stat there;
    if (!fstatat(AT_FDCWD, name, &there, AT_SYMLINK_NOFOLLOW) && S_ISDIR(there.st_mode)) return rmdir(name);
    return unlink(name);
}
