/* Loaded before the C library (LD_PRELOAD): counts the calls that touch files below $FAULTS_BELOW, writes each down in
 * $FAULTS_TRACE, and lets the $FAULTS_AT-th one go wrong.
 *
 * $FAULTS_DO: "fail" (default) fails it with the $FAULTS_KIND-th of the errors that this call can give (modulo their
 * number); "before" and "after" kill the process there, "stop" stops it (SIGSTOP) just before. With $FAULTS_STICK, what failed stays broken: every later call
 * that can give that error gives it (but EINTR comes once). Only the process that was started with these variables is meant: its children
 * do not see them.
 *
 * A record of the trace is a line of tab-separated fields, then `data` bytes of what was written:
 *   number, call, result, errno, offset, flags, inode, data, errors that it can give, what was done, path, second path
 */
#define _GNU_SOURCE
#include <dirent.h>
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
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT (-1) /* no errno: half of it is written */
#define END 0

static const int OPENS_TO_WRITE[] = {ENOSPC, EIO, EDQUOT, EMFILE, EROFS, EINTR, END};
static const int OPENS_TO_READ[] = {EIO, EMFILE, EINTR, END};
static const int WRITES[] = {ENOSPC, EIO, EDQUOT, EINTR, SHORT, END};
static const int READS[] = {EIO, EINTR, END};
static const int SYNCS[] = {EIO, ENOSPC, END};
static const int CHANGES[] = {EIO, EROFS, END};
static const int NAMES[] = {ENOSPC, EIO, EDQUOT, EROFS, END};
static const int LOCKS[] = {EINTR, ENOLCK, EIO, END};
static const int CLOSES[] = {EIO, EINTR, END};
static const int LISTS[] = {EMFILE, EIO, END};

static char below[PATH_MAX];
static size_t below_length;
static int trace = -1, kill_before, kill_after, stop, stick;
static long count, at, kind;
static int stuck; /* the error that stays */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void lock_turn(void) { pthread_mutex_lock(&turn); }
static void unlock_turn(void) { pthread_mutex_unlock(&turn); }

__attribute__((constructor)) static void begin(void) {
    const char *prefix = getenv("FAULTS_BELOW"), *file = getenv("FAULTS_TRACE"), *text = getenv("FAULTS_DO");
    if (!prefix || !file) return;
    snprintf(below, sizeof below, "%s", prefix);
    below_length = strlen(below);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    trace = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
    syscall(SYS_close, fd);
    at = getenv("FAULTS_AT") ? atol(getenv("FAULTS_AT")) : 0;
    kind = getenv("FAULTS_KIND") ? atol(getenv("FAULTS_KIND")) : 0;
    stick = getenv("FAULTS_STICK") != NULL;
    kill_before = text && !strcmp(text, "before");
    kill_after = text && !strcmp(text, "after");
    stop = text && !strcmp(text, "stop");
    pthread_atfork(lock_turn, unlock_turn, unlock_turn);
    unsetenv("LD_PRELOAD");
    unsetenv("FAULTS_BELOW");
}

/* One call: what it is about, and what is to become of it. */
typedef struct {
    const char *name;
    const int *errors;
    long number;
    int injected; /* the error that it is to give, or 0 */
    int counts;   /* it is below our folder */
    long flags;
    off_t offset;
    unsigned long inode;
    char path[PATH_MAX], other[PATH_MAX];
} Call;

static int is_ours(const char *path) {
    return below_length && !strncmp(path, below, below_length) &&
           (path[below_length] == '/' || path[below_length] == 0);
}

static void resolve(int folder, const char *path, char *into) {
    char base[PATH_MAX] = "";
    if (path[0] == '/') {
        snprintf(into, PATH_MAX, "%s", path);
        return;
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, base, sizeof base - 1);
        base[n > 0 ? n : 0] = 0;
    }
    if (!strcmp(path, "")) snprintf(into, PATH_MAX, "%s", base);
    else if (snprintf(into, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) into[0] = 0;
}

static void of_file(Call *call, int fd) {
    struct stat stat;
    resolve(fd, "", call->path);
    if (!is_ours(call->path) || syscall(SYS_fstat, fd, &stat)) return;
    call->inode = stat.st_ino;
    call->flags = syscall(SYS_fcntl, fd, F_GETFL);
    call->offset = call->flags & O_APPEND ? stat.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

static int gives(const int *errors, int error) {
    for (; *errors != END; errors++)
        if (*errors == error) return 1;
    return 0;
}

static int how_many(const int *errors) {
    int n = 0;
    while (errors[n] != END) n++;
    return n;
}

static void note(const Call *call, long result, int error, const char *did, const void *data, size_t length) {
    char head[2 * PATH_MAX + 256];
    int n = snprintf(head, sizeof head, "%ld\t%s\t%ld\t%d\t%ld\t%ld\t%lu\t%zu\t%d\t%s\t%s\t%s\n", call->number, call->name,
                     result, error, (long)call->offset, call->flags, call->inode, length, how_many(call->errors), did,
                     call->path, call->other);
    struct iovec both[] = {{head, n}, {(void *)data, length}};
    syscall(SYS_writev, trace, both, length ? 2 : 1);
}

static void die(const Call *call, long result, const char *did, const void *data, size_t length) {
    note(call, result, 0, did, data, length);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Under the lock from here to `leave`, so that the trace has the order in which things really happened. */
static void enter(Call *call) {
    call->counts = trace >= 0 && (is_ours(call->path) || is_ours(call->other));
    if (!call->counts) return;
    lock_turn();
    call->number = ++count;
    if (call->number == at) {
        if (kill_before) die(call, -1, "killed before", NULL, 0);
        if (stop) syscall(SYS_kill, getpid(), SIGSTOP);
        if (!kill_after && !stop) {
            call->injected = call->errors[kind % how_many(call->errors)];
            if (stick && call->injected != EINTR) stuck = call->injected; /* nobody is interrupted for ever */
        }
    } else if (stuck && gives(call->errors, stuck))
        call->injected = stuck;
}

static void leave(Call *call, long result, const void *data, size_t length) {
    if (!call->counts) return;
    int error = errno;
    if (call->number == at && kill_after) die(call, result, "killed after", data, length);
    char did[32] = "";
    if (call->injected) snprintf(did, sizeof did, "%d", call->injected);
    note(call, result, result < 0 ? error : 0, did, data, length);
    unlock_turn();
    errno = error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(called, list) Call call = {.name = called, .errors = list}
#define DO(expression) \
    long result; \
    enter(&call); \
    if (call.injected && call.injected != SHORT) { result = -1; errno = call.injected; } \
    else result = (expression);

static int opening(int folder, const char *path, int flags, mode_t mode) {
    struct stat stat;
    int writes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY;
    CALL("open", writes ? OPENS_TO_WRITE : OPENS_TO_READ);
    resolve(folder, path, call.path);
    call.flags = flags;
    if (flags & O_CREAT && is_ours(call.path) && faccessat(AT_FDCWD, call.path, F_OK, 0)) snprintf(call.other, 8, "created");
    DO(syscall(SYS_openat, folder, path, flags, mode));
    if (result >= 0 && call.counts && !syscall(SYS_fstat, result, &stat)) call.inode = stat.st_ino;
    leave(&call, result, NULL, 0);
    return result;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }

static ssize_t writing(int fd, const void *data, size_t length, off_t offset) {
    CALL("write", WRITES);
    of_file(&call, fd);
    if (offset >= 0) call.offset = offset;
    enter(&call);
    ssize_t result = -1;
    size_t part = call.injected == SHORT ? (length + 1) / 2 : length; /* no kernel writes nothing and says so */
    if (call.injected && call.injected != SHORT) errno = call.injected;
    else result = offset < 0 ? syscall(SYS_write, fd, data, part) : syscall(SYS_pwrite64, fd, data, part, offset);
    leave(&call, result, data, result > 0 ? result : 0);
    return result;
}

ssize_t write(int fd, const void *data, size_t length) { return writing(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return writing(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return writing(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n) { /* only the first part: a short write is allowed */
    CALL("write", WRITES);
    of_file(&call, fd);
    if (!is_ours(call.path)) return syscall(SYS_writev, fd, parts, n);
    return writing(fd, parts[0].iov_base, parts[0].iov_len, -1);
}

#define ON_FILE(type, name, called, list, arguments, passed, number) \
    type name arguments { \
        CALL(called, list); \
        of_file(&call, fd); \
        DO(syscall(number, passed)); \
        leave(&call, result, NULL, 0); \
        return result; \
    }
#define LIST(...) __VA_ARGS__
ON_FILE(ssize_t, read, "read", READS, (int fd, void *into, size_t n), LIST(fd, into, n), SYS_read)
ON_FILE(ssize_t, pread, "read", READS, (int fd, void *into, size_t n, off_t o), LIST(fd, into, n, o), SYS_pread64)
ON_FILE(ssize_t, pread64, "read", READS, (int fd, void *into, size_t n, off_t o), LIST(fd, into, n, o), SYS_pread64)
ON_FILE(int, fsync, "sync", SYNCS, (int fd), fd, SYS_fsync)
ON_FILE(int, fdatasync, "sync", SYNCS, (int fd), fd, SYS_fdatasync)
ON_FILE(int, fchmod, "chmod", CHANGES, (int fd, mode_t mode), LIST(fd, mode), SYS_fchmod)

void sync(void) {
    CALL("sync all", SYNCS);
    snprintf(call.path, PATH_MAX, "%s", below);
    enter(&call);
    if (!call.injected) syscall(SYS_sync);
    leave(&call, 0, NULL, 0);
}

static int cutting(int fd, off_t length) {
    CALL("truncate", CHANGES);
    of_file(&call, fd);
    call.offset = length;
    DO(syscall(SYS_ftruncate, fd, length));
    leave(&call, result, NULL, 0);
    return result;
}
int ftruncate(int fd, off_t length) { return cutting(fd, length); }
int ftruncate64(int fd, off_t length) { return cutting(fd, length); }

int close(int fd) { /* it is closed, whatever the answer is */
    CALL("close", CLOSES);
    of_file(&call, fd);
    enter(&call);
    long result = syscall(SYS_close, fd);
    if (call.injected) { result = -1; errno = call.injected; }
    leave(&call, result, NULL, 0);
    return result;
}

int flock(int fd, int how) {
    if (how & LOCK_UN) return syscall(SYS_flock, fd, how); /* as below */
    CALL("lock", LOCKS);
    of_file(&call, fd);
    DO(syscall(SYS_flock, fd, how));
    leave(&call, result, NULL, 0);
    return result;
}

static int controlling(int fd, int command, void *argument) {
    if (command != F_SETLK && command != F_SETLKW && command != F_OFD_SETLK && command != F_OFD_SETLKW)
        return syscall(SYS_fcntl, fd, command, argument);
    if (((struct flock *)argument)->l_type == F_UNLCK) /* no local file system refuses that, and it is not counted */
        return syscall(SYS_fcntl, fd, command, argument);
    CALL("lock", LOCKS);
    of_file(&call, fd);
    DO(syscall(SYS_fcntl, fd, command, argument));
    leave(&call, result, NULL, 0);
    return result;
}
#define ARGUMENT va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest);
int fcntl(int fd, int command, ...) { ARGUMENT return controlling(fd, command, argument); }
int fcntl64(int fd, int command, ...) { ARGUMENT return controlling(fd, command, argument); }

static int renaming(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    CALL("rename", NAMES);
    resolve(from_folder, from, call.path);
    resolve(to_folder, to, call.other);
    DO(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
    leave(&call, result, NULL, 0);
    return result;
}
int rename(const char *from, const char *to) { return renaming(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renaming(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned f) { return renaming(a, from, b, to, f); }

int linkat(int a, const char *from, int b, const char *to, int flags) {
    CALL("link", NAMES);
    resolve(a, from, call.path);
    resolve(b, to, call.other);
    DO(syscall(SYS_linkat, a, from, b, to, flags));
    leave(&call, result, NULL, 0);
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *path, int flags) {
    CALL("unlink", CHANGES);
    resolve(folder, path, call.path);
    DO(syscall(SYS_unlinkat, folder, path, flags));
    leave(&call, result, NULL, 0);
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    CALL("mkdir", NAMES);
    resolve(folder, path, call.path);
    DO(syscall(SYS_mkdirat, folder, path, mode));
    leave(&call, result, NULL, 0);
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

DIR *opendir(const char *path) {
    CALL("list", LISTS);
    resolve(AT_FDCWD, path, call.path);
    DO((long)REAL(opendir)(path));
    int error = errno;
    leave(&call, result == 0 ? -1 : result, NULL, 0);
    errno = error;
    return result <= 0 && call.injected ? NULL : (DIR *)result;
}
