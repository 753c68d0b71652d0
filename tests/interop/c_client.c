/* The C client, asked for what it can do: c_client HOST:PORT. The server has to be empty.
 *
 * It prints what it is answered, without what differs from one run to the next, so that two servers do the same if the
 * same is printed. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zookeeper/zookeeper.h>

enum { SESSION = 30000, PATIENCE = 60 /* seconds */ };

/* What has been told, each in a line, to whoever waits for the next. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static char *told[64];
static int first, last;

static void tell(const char *text) {
    pthread_mutex_lock(&lock);
    told[last++ % 64] = strdup(text);
    pthread_cond_broadcast(&news);
    pthread_mutex_unlock(&lock);
}

static void say_next(const char *what) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE;
    pthread_mutex_lock(&lock);
    while (first == last) {
        if (pthread_cond_timedwait(&news, &lock, &end) != 0) {
            printf("%s: nothing, in %d seconds\n", what, PATIENCE);
            exit(1);
        }
    }
    char *text = told[first++ % 64];
    pthread_mutex_unlock(&lock);
    printf("%s: %s\n", what, text);
    free(text);
}

static const char *type_name(int type) {
    if (type == ZOO_CREATED_EVENT) return "created";
    if (type == ZOO_DELETED_EVENT) return "deleted";
    if (type == ZOO_CHANGED_EVENT) return "changed";
    if (type == ZOO_CHILD_EVENT) return "children";
    if (type == ZOO_SESSION_EVENT) return "session";
    if (type == ZOO_NOTWATCHING_EVENT) return "not watching";
    return "other";
}

static const char *state_name(int state) {
    if (state == ZOO_CONNECTED_STATE) return "connected";
    if (state == ZOO_EXPIRED_SESSION_STATE) return "expired";
    if (state == ZOO_AUTH_FAILED_STATE) return "auth failed";
    if (state == ZOO_CONNECTING_STATE) return "connecting";
    if (state == ZOO_ASSOCIATING_STATE) return "associating";
    return "other";
}

static void watcher(zhandle_t *zk, int type, int state, const char *path, void *context) {
    char text[512];
    (void)zk;
    /* How often it tries is luck. */
    if (type == ZOO_SESSION_EVENT && (state == ZOO_CONNECTING_STATE || state == ZOO_ASSOCIATING_STATE)) return;
    snprintf(text, sizeof text, "%s%s, %s, '%s'", context ? (const char *)context : "", type_name(type),
             state_name(state), path ? path : "");
    tell(text);
}

/* What is printed. */

static void say(const char *what, int code) {
    printf("%s: %s\n", what, code == ZOK ? "ok" : zerror(code));
}

static void say_stat(const struct Stat *stat) {
    printf("  version %d, cversion %d, aversion %d, %s, length %d, children %d, %s, %s\n", stat->version, stat->cversion,
           stat->aversion, stat->ephemeralOwner ? "a session's" : "nobody's", stat->dataLength, stat->numChildren,
           stat->mzxid == stat->czxid ? "never set" : "set", stat->pzxid == stat->czxid ? "no child yet" : "had a child");
}

static int by_name(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void say_children(zhandle_t *zk, const char *path) {
    struct String_vector names;
    struct Stat stat;
    int code = zoo_get_children2(zk, path, 0, &names, &stat);
    say("children", code);
    if (code != ZOK) return;
    qsort(names.data, names.count, sizeof *names.data, by_name);
    for (int i = 0; i < names.count; i++) printf("  %s\n", names.data[i]);
    say_stat(&stat);
    deallocate_String_vector(&names);
}

static void say_data(zhandle_t *zk, const char *path) {
    char data[256];
    int length = sizeof data;
    struct Stat stat;
    int code = zoo_get(zk, path, 0, data, &length, &stat);
    say("data", code);
    if (code != ZOK) return;
    printf("  %d: '%.*s'\n", length, length > 0 ? length : 0, data);
    say_stat(&stat);
}

static void say_acl(zhandle_t *zk, const char *path) {
    struct ACL_vector list;
    struct Stat stat;
    int code = zoo_get_acl(zk, path, &list, &stat);
    say("list", code);
    if (code != ZOK) return;
    for (int i = 0; i < list.count; i++) {
        printf("  %d %s:%s\n", list.data[i].perms, list.data[i].id.scheme, list.data[i].id.id);
    }
    say_stat(&stat);
    deallocate_ACL_vector(&list);
}

static int create(zhandle_t *zk, const char *path, const char *data, int mode, const struct ACL_vector *acl) {
    char made[256] = "";
    int code = zoo_create(zk, path, data, data ? (int)strlen(data) : -1, acl, mode, made, sizeof made);
    printf("create %s: %s %s\n", path, code == ZOK ? "ok" : zerror(code), made);
    return code;
}

static void authenticated(int code, const void *data) {
    (void)data;
    tell(code == ZOK ? "authenticated" : zerror(code));
}

static void synced(int code, const char *path, const void *data) {
    (void)data;
    char text[256];
    snprintf(text, sizeof text, "synced %s %s", code == ZOK ? path : "", code == ZOK ? "" : zerror(code));
    tell(text);
}

static zhandle_t *connect_to(const char *address, const clientid_t *id, char *name) {
    zhandle_t *zk = zookeeper_init(address, watcher, SESSION, id, name, 0);
    if (zk == NULL) {
        perror("zookeeper_init");
        exit(1);
    }
    return zk;
}

/* The sections. */

static void own_nodes(zhandle_t *zk) {
    static const char *const paths[] = {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"};
    char data[256];
    int length = sizeof data;
    struct Stat stat;
    puts("== the server's own nodes");
    for (int i = 0; i < 4; i++) {
        puts(paths[i]);
        say_data(zk, paths[i]);
        say_children(zk, paths[i]);
        say_acl(zk, paths[i]);
        if (zoo_exists(zk, paths[i], 0, &stat) == ZOK) {
            printf("  times %lld %lld, zxids %lld %lld %lld\n", (long long)stat.ctime, (long long)stat.mtime,
                   (long long)stat.czxid, (long long)stat.mzxid, (long long)stat.pzxid);
        }
        say("delete", zoo_delete(zk, paths[i], -1));
    }
    int code = zoo_getconfig(zk, 0, data, &length, &stat);
    say("configuration", code);
    if (code == ZOK) {
        printf("  %d: '%.*s'\n", length, length > 0 ? length : 0, data);
        say_stat(&stat);
    }
    say("set configuration", zoo_set(zk, "/zookeeper/config", "x", 1, -1));
    length = sizeof data;
    say("reconfigure", zoo_reconfig(zk, NULL, "3", NULL, -1, data, &length, &stat));
}

static void quota(zhandle_t *zk) {
    const struct ACL_vector *open = &ZOO_OPEN_ACL_UNSAFE;
    puts("== quota");
    create(zk, "/limited", "1234", ZOO_PERSISTENT, open);
    create(zk, "/zookeeper/quota/limited", NULL, ZOO_PERSISTENT, open);
    create(zk, "/zookeeper/quota/limited/zookeeper_limits", "count=2,bytes=10", ZOO_PERSISTENT, open);
    create(zk, "/zookeeper/quota/limited/zookeeper_stats", "count=0,bytes=0", ZOO_PERSISTENT, open);
    create(zk, "/limited/a", "1234567890", ZOO_PERSISTENT, open);
    create(zk, "/limited/a/b", NULL, ZOO_EPHEMERAL, open);
    say_data(zk, "/zookeeper/quota/limited/zookeeper_stats");
    say("delete", zoo_delete(zk, "/limited/a/b", -1));
    say("set to null", zoo_set(zk, "/limited/a", NULL, -1, -1));
    say_data(zk, "/zookeeper/quota/limited/zookeeper_stats");
    say_children(zk, "/zookeeper/quota");
}

static void nodes(zhandle_t *zk) {
    const struct ACL_vector *open = &ZOO_OPEN_ACL_UNSAFE;
    struct Stat stat;
    puts("== nodes");
    create(zk, "/a", "data", ZOO_PERSISTENT, open);
    create(zk, "/a", "data", ZOO_PERSISTENT, open);
    create(zk, "/a/null", NULL, ZOO_PERSISTENT, open);
    create(zk, "/a/empty", "", ZOO_PERSISTENT, open);
    create(zk, "/a/ephemeral", "e", ZOO_EPHEMERAL, open);
    create(zk, "/a/ephemeral/x", "e", ZOO_PERSISTENT, open);
    create(zk, "/a/s-", "s", ZOO_PERSISTENT_SEQUENTIAL, open);
    create(zk, "/a/es-", "s", ZOO_EPHEMERAL_SEQUENTIAL, open);
    create(zk, "/a/container", "c", ZOO_CONTAINER, open);
    create(zk, "/none/x", "x", ZOO_PERSISTENT, open);
    create(zk, "relative", "x", ZOO_PERSISTENT, open);
    char made[64];
    int code = zoo_create2_ttl(zk, "/a/ttl", "t", 1, open, ZOO_PERSISTENT_WITH_TTL, 100000, made, sizeof made, &stat);
    say("create with a time to live", code);
    if (code == ZOK) say_stat(&stat);
    code = zoo_create2(zk, "/a/create2", "t", 1, open, ZOO_PERSISTENT, made, sizeof made, &stat);
    say("create2", code);
    if (code == ZOK) say_stat(&stat);
    say_data(zk, "/a");
    say_data(zk, "/a/null");
    say_data(zk, "/a/empty");
    say_data(zk, "/none");
    say_children(zk, "/a");
    say_children(zk, "/none");
    code = zoo_exists(zk, "/a/ephemeral", 0, &stat);
    say("exists", code);
    if (code == ZOK) say_stat(&stat);
    say("exists not", zoo_exists(zk, "/none", 0, &stat));
    code = zoo_set2(zk, "/a", "new", 3, 0, &stat);
    say("set", code);
    if (code == ZOK) say_stat(&stat);
    say("set, wrong version", zoo_set(zk, "/a", "new", 3, 0));
    say("set to null", zoo_set(zk, "/a/create2", NULL, -1, -1));
    say_data(zk, "/a/create2");
    say("delete, not empty", zoo_delete(zk, "/a", -1));
    say("delete, wrong version", zoo_delete(zk, "/a/null", 4));
    say("delete", zoo_delete(zk, "/a/null", 0));
    say("delete again", zoo_delete(zk, "/a/null", 0));
    say("sync", zoo_async(zk, "/a", synced, NULL));
    say_next("synced");
}

static void multi(zhandle_t *zk) {
    zoo_op_t ops[4];
    zoo_op_result_t results[4];
    char made[64];
    struct Stat stat;
    puts("== multi");
    zoo_create_op_init(&ops[0], "/m", "1", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, made, sizeof made);
    zoo_set_op_init(&ops[1], "/m", "2", 1, 0, &stat);
    zoo_check_op_init(&ops[2], "/m", 1);
    zoo_delete_op_init(&ops[3], "/a/empty", -1);
    say("all of it", zoo_multi(zk, 4, ops, results));
    for (int i = 0; i < 4; i++) say("  result", results[i].err);
    printf("  %s\n", made);
    say_stat(&stat);
    zoo_create_op_init(&ops[0], "/m/x", "1", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, made, sizeof made);
    zoo_set_op_init(&ops[1], "/m", "3", 1, 1, &stat);
    zoo_check_op_init(&ops[2], "/m", 7);
    zoo_delete_op_init(&ops[3], "/m", -1);
    say("refused", zoo_multi(zk, 4, ops, results));
    for (int i = 0; i < 4; i++) say("  result", results[i].err);
    say_data(zk, "/m");
    say_children(zk, "/m");
}

static void watches(zhandle_t *zk, zhandle_t *other) {
    struct Stat stat;
    struct String_vector names;
    char data[16];
    int length = sizeof data;
    puts("== watches");
    say("exists", zoo_wexists(zk, "/w", watcher, "exists: ", &stat));
    create(other, "/w", "1", ZOO_PERSISTENT, &ZOO_OPEN_ACL_UNSAFE);
    say_next("event");
    say("data", zoo_wget(zk, "/w", watcher, "data: ", data, &length, &stat));
    say("set", zoo_set(other, "/w", "2", 1, -1));
    say_next("event");
    say("children", zoo_wget_children(zk, "/w", watcher, "children: ", &names));
    create(other, "/w/a", "1", ZOO_PERSISTENT, &ZOO_OPEN_ACL_UNSAFE);
    say_next("event");
    say("the default watcher", zoo_exists(zk, "/w/a", 1, &stat));
    say("delete", zoo_delete(other, "/w/a", -1));
    say_next("event");
    say("remove none", zoo_remove_watches(zk, "/w", ZWATCHTYPE_DATA, watcher, "none: ", 0));
    say("data", zoo_wget(zk, "/w", watcher, "data: ", data, &length, &stat));
    say("remove", zoo_remove_watches(zk, "/w", ZWATCHTYPE_DATA, watcher, "data: ", 0));
    say("set", zoo_set(other, "/w", "3", 1, -1));
    say("exists", zoo_wexists(zk, "/w", watcher, "exists: ", &stat));
    say("delete", zoo_delete(other, "/w", -1));
    say_next("event");
}

static void access_lists(const char *address, zhandle_t *zk, zhandle_t *other) {
    puts("== access");
    struct ACL own = {ZOO_PERM_ALL, {"auth", ""}};
    struct ACL_vector creator = {1, &own};
    struct ACL reading[2] = {{ZOO_PERM_READ, {"world", "anyone"}}, {ZOO_PERM_ALL, {"auth", ""}}};
    struct ACL_vector readable = {2, reading};
    struct ACL strange = {ZOO_PERM_ALL, {"none", "such"}};
    struct ACL_vector invalid = {1, &strange};
    create(zk, "/acl", "x", ZOO_PERSISTENT, &creator);
    say("authenticate", zoo_add_auth(zk, "digest", "anna:secret", 11, authenticated, NULL));
    say_next("answer");
    create(zk, "/acl", "x", ZOO_PERSISTENT, &creator);
    create(zk, "/acl2", "x", ZOO_PERSISTENT, &invalid);
    say_acl(zk, "/acl");
    say_acl(other, "/acl");
    say_data(other, "/acl");
    say("set by another", zoo_set(other, "/acl", "y", 1, -1));
    say("set list", zoo_set_acl(zk, "/acl", 0, &readable));
    say("set list, wrong version", zoo_set_acl(zk, "/acl", 0, &readable));
    say("set list by another", zoo_set_acl(other, "/acl", -1, &ZOO_OPEN_ACL_UNSAFE));
    say_acl(other, "/acl");
    say_data(other, "/acl");
    say("authenticate", zoo_add_auth(other, "digest", "anna:secret", 11, authenticated, NULL));
    say_next("answer");
    say_acl(other, "/acl");
    say("set by another", zoo_set(other, "/acl", "y", 1, -1));
    say_data(zk, "/acl");
    // Who may delete is for the parent to say.
    zhandle_t *third = connect_to(address, NULL, "third: ");
    say_next("event");
    say("delete by a third", zoo_delete(third, "/acl", -1));
    say("close", zookeeper_close(third));
}

static void sessions(const char *address, zhandle_t *zk) {
    puts("== sessions");
    struct Stat stat;
    zhandle_t *first = connect_to(address, NULL, "first: ");
    say_next("event");
    create(first, "/mine", "x", ZOO_EPHEMERAL, &ZOO_OPEN_ACL_UNSAFE);
    say("exists", zoo_wexists(zk, "/mine", watcher, "mine: ", &stat));
    say_stat(&stat);
    printf("timeout %d\n", zoo_recv_timeout(first));
    clientid_t none = {0x12345678, {0}};
    zhandle_t *ghost = connect_to(address, &none, "ghost: ");
    say_next("event");
    say("afterwards", zoo_exists(ghost, "/", 0, &stat));
    zookeeper_close(ghost);
    say("close", zookeeper_close(first));
    say_next("event");
    say("gone", zoo_exists(zk, "/mine", 0, &stat));
    zhandle_t *wrong = connect_to(address, NULL, "wrong: ");
    say_next("event");
    say("authenticate", zoo_add_auth(wrong, "none", "such", 4, authenticated, NULL));
    say_next("answer");
    zookeeper_close(wrong);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    fclose(stderr);
    zhandle_t *zk = connect_to(arguments[1], NULL, "");
    say_next("event");
    zhandle_t *other = connect_to(arguments[1], NULL, "other: ");
    say_next("event");
    own_nodes(zk);
    nodes(zk);
    multi(zk);
    watches(zk, other);
    access_lists(arguments[1], zk, other);
    sessions(arguments[1], zk);
    quota(zk);
    say_children(zk, "/");
    say("close", zookeeper_close(other));
    say("close", zookeeper_close(zk));
    return 0;
}
