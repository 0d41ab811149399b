/* SPDX-License-Identifier: MIT */
/*
 * Names of segments. A bare word is a shm name; it may hold no colon, so that a mistyped backend is
 * an error and not a ring. Control characters are refused everywhere: names are printed in tables.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <unistd.h>

#include "ring/segment.h"

#define LABEL_MAX  200 /* NAME_MAX less what is put before it, and some */
#define SHM_PREFIX "/dev/shm/quoit."

/* Decimal, or hexadecimal behind 0x; nothing else that strtoull() would take. */
static int parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
	uint64_t v;

	s += hex ? 2 : 0;
	if (*s == '\0' || s[strspn(s, digits)] != '\0')
		return -EINVAL;
	errno = 0;
	v = strtoull(s, NULL, hex ? 16 : 10);
	if (errno != 0 || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* A name without a folder, of a shm segment or a memfd. */
static int check_label(const char *label)
{
	if (*label == '\0' || strcmp(label, ".") == 0 || strcmp(label, "..") == 0 ||
	    strchr(label, '/') != NULL)
		return -EINVAL;
	return strlen(label) <= LABEL_MAX ? 0 : -ENAMETOOLONG;
}

static int fits(int printed)
{
	return printed >= 0 && (unsigned)printed < QUOIT_NAME_MAX ? 0 : -ENAMETOOLONG;
}

static int parse_shm(const char *label, struct quoit__name *n)
{
	int r = check_label(label);

	n->backend = QUOIT_SHM;
	if (r == 0)
		r = fits(snprintf(n->path, sizeof(n->path), SHM_PREFIX "%s", label));
	return r == 0 ? fits(snprintf(n->canonical, sizeof(n->canonical), "shm:%s", label)) : r;
}

static int parse_memfd(const char *label, struct quoit__name *n)
{
	int r = check_label(label);

	n->backend = QUOIT_MEMFD;
	if (r == 0)
		r = fits(snprintf(n->path, sizeof(n->path), "quoit.%s", label));
	return r == 0 ? fits(snprintf(n->canonical, sizeof(n->canonical), "memfd:%s", label)) : r;
}

static int parse_fd(const char *s, struct quoit__name *n)
{
	uint64_t fd;
	int r = s[0] == '0' && s[1] != '\0' ? -EINVAL : parse_number(s, INT_MAX, &fd);

	if (r != 0)
		return r;
	n->backend = QUOIT_MEMFD;
	n->fd = (int)fd;
	return fits(snprintf(n->canonical, sizeof(n->canonical), "fd:%d", n->fd));
}

/* "/proc/PID/fd/N": the descriptor of another process, by which rings without a name are found. */
static int parse_proc(const char *s, struct quoit__name *n)
{
	size_t pid = strspn(s, "0123456789");
	const char *fd = s + pid + 4;

	if (pid == 0 || strncmp(s + pid, "/fd/", 4) != 0 || *fd == '\0' ||
	    fd[strspn(fd, "0123456789")] != '\0')
		return -EINVAL;
	n->backend = QUOIT_MEMFD;
	if (fits(snprintf(n->path, sizeof(n->path), "/proc/%s", s)) != 0)
		return -ENAMETOOLONG;
	return fits(snprintf(n->canonical, sizeof(n->canonical), "/proc/%s", s));
}

/*
 * The canonical name is absolute, but no symbolic link is resolved: the folder may be one on
 * purpose, and the file need not exist.
 */
static int parse_file(const char *path, struct quoit__name *n)
{
	const char *base = strrchr(path, '/');
	char cwd[PATH_MAX];

	base = base != NULL ? base + 1 : path;
	if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return -EINVAL;
	n->backend = QUOIT_FILE;
	if (fits(snprintf(n->path, sizeof(n->path), "%s", path)) != 0)
		return -ENAMETOOLONG;
	if (path[0] == '/')
		return fits(snprintf(n->canonical, sizeof(n->canonical), "file:%s", path));
	while (path[0] == '.' && path[1] == '/')
		path += 2 + strspn(path + 2, "/");
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		return errno == ERANGE ? -ENAMETOOLONG : -errno;
	return fits(snprintf(n->canonical, sizeof(n->canonical), "file:%s/%s",
			     strcmp(cwd, "/") == 0 ? "" : cwd, path));
}

/*
 * PATH,ID by ftok(3). ID is one character that is no digit, or a number from 1 to 255. ftok() takes
 * only 16 bits of the inode and 8 of the device, so two paths may give one key: then the second
 * creator gets -EEXIST.
 */
static int key_of_path(const char *s, const char *comma, uint32_t *ret)
{
	const char *id = comma + 1;
	char path[QUOIT_NAME_MAX];
	uint64_t number;
	key_t key;

	if (comma == s)
		return -EINVAL;
	if ((size_t)(comma - s) >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, s, (size_t)(comma - s));
	path[comma - s] = '\0';
	if (id[0] != '\0' && id[1] == '\0' && strchr("0123456789", id[0]) == NULL)
		number = (unsigned char)id[0];
	else if (parse_number(id, 255, &number) != 0 || number == 0)
		return -EINVAL;
	errno = 0;
	key = ftok(path, (int)number);
	if (key == -1 && errno != 0)
		return -errno;
	*ret = (uint32_t)key;
	return 0;
}

static int parse_sysv(const char *s, struct quoit__name *n)
{
	const char *comma = strrchr(s, ',');
	uint64_t number;
	int r = 0;

	n->backend = QUOIT_SYSV;
	if (strcmp(s, "private") == 0) {
		n->is_private = true;
		return fits(snprintf(n->canonical, sizeof(n->canonical), "sysv:private"));
	}
	if (s[0] == '#') {
		r = parse_number(s + 1, INT32_MAX, &number);
		if (r != 0)
			return r;
		n->id = (int32_t)number;
		return fits(snprintf(n->canonical, sizeof(n->canonical), "sysv:#%d", n->id));
	}
	if (comma != NULL) {
		r = key_of_path(s, comma, &n->key);
	} else {
		r = parse_number(s, UINT32_MAX, &number);
		n->key = r == 0 ? (uint32_t)number : 0;
	}
	if (r != 0)
		return r;
	if (n->key == (uint32_t)IPC_PRIVATE)
		return -EINVAL;
	return fits(snprintf(n->canonical, sizeof(n->canonical), "sysv:0x%08x", n->key));
}

int quoit__name_parse(const char *name, struct quoit__name *ret)
{
	static const struct {
		const char *prefix;
		int (*parse)(const char *rest, struct quoit__name *n);
	} forms[] = {
		{"shm:", parse_shm},     {"sysv:", parse_sysv}, {"file:", parse_file},
		{"memfd:", parse_memfd}, {"fd:", parse_fd},     {"/proc/", parse_proc},
	};
	struct quoit__name n = {.fd = -1, .id = -1};
	int r = -EINVAL;

	for (const char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return -EINVAL;
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		size_t length = strlen(forms[i].prefix);

		if (strncmp(name, forms[i].prefix, length) != 0)
			continue;
		r = forms[i].parse(name + length, &n);
		if (r == 0)
			*ret = n;
		return r;
	}
	if (strchr(name, ':') == NULL)
		r = parse_shm(name, &n);
	if (r == 0)
		*ret = n;
	return r;
}
