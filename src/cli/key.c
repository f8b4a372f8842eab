/* key.c: DATA_DIR/jwt.key, the token key that dev on embedded engines makes for itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "base/random.h"
#include "base/str.h"
#include "cli/cli.h"

#define KEY_BYTES 32 /* random; written as hex */
#define KEY_FILE "jwt.key"
#define KEY_MIN_BYTES 32 /* of text: RFC 7518 section 3.2 */
#define PATH_CAP (CONFIG_TEXT + 64)
#define A_KEY "allowed is a file of mode 0600 with one text of 32 to 1023 bytes"

static bool read_all(int fd, char *out, size_t cap, size_t *out_len)
{
    ssize_t n;
    *out_len = 0;
    while (*out_len < cap && (n = read(fd, out + *out_len, cap - *out_len)) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        *out_len += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* What is wrong with the open key file, or NULL after its text is in `key`. */
static const char *check_key(int fd, char key[CONFIG_TEXT])
{
    struct stat st;
    size_t len;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return "is not a file";
    if (st.st_uid != geteuid())
        return "belongs to another user";
    if (st.st_nlink != 1)
        return "has another name besides";
    if (st.st_mode & 077)
        return "may be read or written by others";
    if (!read_all(fd, key, CONFIG_TEXT, &len))
        return strerror(errno);
    while (len > 0 && (key[len - 1] == '\n' || key[len - 1] == '\r'))
        len--;
    if (len < KEY_MIN_BYTES)
        return "is too short";
    if (len >= CONFIG_TEXT || memchr(key, '\0', len))
        return "is not one text";
    key[len] = '\0';
    return NULL;
}

/* What is to be changed is DATA_DIR: the key is where it has to be. */
static int refuse_data_dir(const char *data_dir)
{
    char why[256];
    if (folder_explain(errno, why, sizeof why))
        return cli_usage("DATA_DIR=%s: %s: allowed is a directory that this process may write",
                         data_dir, why);
    return cli_failed("DATA_DIR=%s: %s", data_dir, why);
}

/* Is it DATA_DIR that is wrong, and not the file in it? After open() failed. */
static bool blames_folder(const char *data_dir)
{
    int error = errno;
    bool blames = error == ENOTDIR || error == ENAMETOOLONG ||
                  (error == EACCES && access(data_dir, X_OK) != 0);
    errno = error;
    return blames;
}

/* OK, NOT_FOUND when there is none; else it has complained and set *code. */
static enum err read_key(const char *data_dir, const char *path, char key[CONFIG_TEXT], int *code)
{
    char why[256];
    if (!folder_is_private(data_dir, why, sizeof why)) {
        *code = cli_usage("DATA_DIR=%s: %s: allowed is a directory of this user that nobody else "
                          "may write",
                          data_dir, why);
        return ERR_INVALID;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return ERR_NOT_FOUND;
    if (fd < 0 && blames_folder(data_dir)) {
        *code = refuse_data_dir(data_dir);
        return ERR_INVALID;
    }
    char text[CONFIG_TEXT];
    const char *wrong = fd >= 0          ? check_key(fd, text)
                        : errno == ELOOP ? "is a symbolic link"
                                         : strerror(errno);
    if (fd >= 0)
        close(fd);
    if (wrong)
        *code = cli_usage("%s: %s: " A_KEY ", or none: then a new one is made", path, wrong);
    else
        memcpy(key, text, sizeof text);
    explicit_bzero(text, sizeof text);
    return wrong ? ERR_INVALID : ERR_OK;
}

/* Writes a new key beside, durable and complete before it gets its name. */
static bool write_beside(const char *beside)
{
    unsigned char bytes[KEY_BYTES];
    char text[2 * KEY_BYTES + 2];
    random_real()->fill(random_real(), bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * KEY_BYTES] = '\n';
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = fd >= 0 && fchmod(fd, 0600) == 0 &&
                   write(fd, text, 2 * KEY_BYTES + 1) == 2 * KEY_BYTES + 1 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(text, sizeof text);
    errno = error;
    return written;
}

/* Never takes the place of a file that is there. By a link only where the file system knows no better: for a
 * moment the key then has two names. */
static bool take_name(const char *beside, const char *path)
{
    if (renameat2(AT_FDCWD, beside, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return true;
    return (errno == EINVAL || errno == ENOSYS) && link(beside, path) == 0;
}

/* When two start at once, one of them gets the name, and both then read the winner's key. */
static bool make_key(const char *data_dir, const char *path)
{
    char beside[PATH_CAP + 32];
    snprintf(beside, sizeof beside, "%s.%016llx.new", path,
             (unsigned long long)random_u64(random_real()));
    if (!folder_make(data_dir) || !write_beside(beside))
        return false;
    bool won = take_name(beside, path), made = won || errno == EEXIST;
    int error = errno;
    unlink(beside);
    errno = error;
    if (!made || !folder_sync(data_dir))
        return false;
    if (won)
        cli_note("made a new key in %s", path);
    return true;
}

bool cli_jwt_key(struct config *c, bool create, int *code)
{
    if (c->jwt_algorithm != JWT_HS256 || *c->jwt_secret)
        return true;
    if (c->prod || c->postgres || c->kafka) {
        *code =
            cli_usage("JWT_SECRET_KEY is unset: allowed is a text of at least %d bytes, or "
                      "JWT_SECRET_KEY_FILE (only dev on embedded engines makes a key of its own)",
                      KEY_MIN_BYTES);
        return false;
    }
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%s/" KEY_FILE, c->data_dir);
    enum err err = read_key(c->data_dir, path, c->jwt_secret, code);
    if (err == ERR_NOT_FOUND && !create) {
        *code = cli_usage("JWT_SECRET_KEY is unset and %s does not exist: allowed is to start "
                          "`subpay run` first",
                          path);
        return false;
    }
    if (err == ERR_NOT_FOUND) {
        if (!make_key(c->data_dir, path)) {
            *code = refuse_data_dir(c->data_dir);
            return false;
        }
        err = read_key(c->data_dir, path, c->jwt_secret, code);
        if (err == ERR_NOT_FOUND)
            *code = cli_failed("%s has vanished", path);
    }
    return err == ERR_OK;
}
