import static org.apache.zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL;
import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;
import static org.apache.zookeeper.ZooDefs.Ids.READ_ACL_UNSAFE;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/**
 * Apache ZooKeeper's own Java client, asked for everything that it can do: {@code JavaClient HOST:PORT}. The server has
 * to be empty.
 *
 * <p>It prints what it is answered, without what differs from one run to the next (times, zxids, session ids), so that
 * two servers do the same if the same is printed.
 */
public final class JavaClient {
    private static final int SESSION = 30_000;
    private static final int PATIENCE = 60; // seconds

    private final String address;
    private final Events events = new Events();
    private final Events others = new Events();
    private final ZooKeeper zk;
    private final ZooKeeper other;

    private JavaClient(String address) throws Exception {
        this.address = address;
        zk = connect(address, events);
        other = connect(address, others);
    }

    public static void main(String[] args) throws Exception {
        JavaClient client = new JavaClient(args[0]);
        client.run();
        client.other.close();
        client.zk.close();
        System.exit(0);
    }

    private void run() throws Exception {
        section("the server's own nodes", this::ownNodes);
        section("create", this::creation);
        section("data", this::data);
        section("children", this::children);
        section("delete", this::deletion);
        section("multi", this::multi);
        section("multi read", this::multiRead);
        section("one-shot watches", this::oneShotWatches);
        section("persistent watches", this::persistentWatches);
        section("removing watches", this::removingWatches);
        section("access", this::access);
        section("addresses", this::addresses);
        section("reconfiguration", this::reconfiguration);
        section("quota", this::quota);
        section("chroot", this::chroot);
        section("asynchronous calls", this::asynchronous);
        section("reconnecting", this::reconnecting);
        section("many watches over a reconnect", this::manyWatches);
        section("taking a session over", this::takeOver);
        section("wrong password", this::wrongPassword);
        section("read-only client", this::readOnly);
        section("closing", this::closing);
    }

    // The sections.

    /** Before anything else is there: some of what their Stats hold is that of no node that a client makes. */
    private void ownNodes() throws Exception {
        for (String path : List.of("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")) {
            Stat stat = new Stat();
            say(path, () -> print(zk.getData(path, false, stat)));
            say("stat", () -> whole(stat));
            say("children", () -> new TreeSet<>(zk.getChildren(path, false)));
            say("list", () -> zk.getACL(path, null));
            say("all below", () -> zk.getAllChildrenNumber(path));
            say("delete", () -> delete(path, -1));
        }
        Events own = new Events();
        Stat stat = new Stat();
        say("configuration", () -> print(zk.getConfig(own, stat)));
        say("stat", () -> whole(stat));
        say("set configuration", () -> print(zk.setData("/zookeeper/config", bytes("x"), -1)));
        say("nobody was told", own::left);
        say("in a multi", () -> print(zk.multi(List.of(
                Op.check("/", 0), Op.check("/zookeeper", 0), Op.create("/zookeeper/a", null, OPEN_ACL_UNSAFE,
                        CreateMode.PERSISTENT), Op.delete("/zookeeper/a", 0)))));
    }

    /** As zkCli's {@code setquota}. */
    private void quota() throws Exception {
        zk.create("/limited", bytes("1234"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        String quota = "/zookeeper/quota/limited";
        zk.create(quota, null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create(quota + "/zookeeper_limits", bytes("count=2,bytes=10"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Question counted = () -> print(zk.getData(quota + "/zookeeper_stats", false, null));
        say("without figures", counted);
        zk.create(quota + "/zookeeper_stats", bytes("count=0,bytes=0"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("from the start", counted);
        for (String name : List.of("/a", "/b", "/b/c")) {
            zk.create("/limited" + name, bytes("data"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        say("beyond its limits", counted);
        zk.setData("/limited/a", new byte[1_000], -1);
        say("set", counted);
        zk.setData("/limited/a", null, -1);
        say("set to null", counted);
        say("refused", () -> print(zk.multi(List.of(
                Op.create("/limited/d", bytes("d"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), Op.check("/nowhere", 0)))));
        say("not counted", counted);
        say("in a multi", () -> print(zk.multi(List.of(
                Op.create("/limited/d", bytes("d"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData("/limited/b", bytes("longer"), 0), Op.delete("/limited/b/c", 0)))));
        say("counted", counted);
        ZooKeeper owner = connect(address, new Events());
        owner.create("/limited/e", bytes("e"), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        say("ephemeral", counted);
        owner.close();
        say("closed", counted);
        Stat stat = zk.exists(quota + "/zookeeper_stats", false);
        say("stat", () -> whole(stat, "", stat.getCzxid()));
        for (String name : List.of("/a", "/b", "/d", "")) {
            zk.delete("/limited" + name, -1);
        }
        say("gone", counted);
        for (String name : List.of("/zookeeper_limits", "/zookeeper_stats", "")) {
            zk.delete(quota + name, -1);
        }
    }

    private void creation() throws Exception {
        String[] data = {"a"};
        for (CreateMode mode : CreateMode.values()) {
            Stat stat = new Stat();
            say(mode, () -> {
                String path = "/create-" + mode + (mode.isSequential() ? "-" : "");
                return mode.isTTL()
                        ? zk.create(path, bytes(data[0]), OPEN_ACL_UNSAFE, mode, stat, 100_000)
                        : zk.create(path, bytes(data[0]), OPEN_ACL_UNSAFE, mode, stat);
            });
            say("stat", () -> print(stat));
        }
        say("again", () -> zk.create("/create-PERSISTENT", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("no parent", () -> zk.create("/none/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("below an ephemeral", () -> zk.create("/create-EPHEMERAL/a", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL));
        say("no ACL", () -> zk.create("/unlisted", null, List.of(), CreateMode.PERSISTENT));
        say("root", () -> zk.create("/", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("negative time to live", () -> zk.create("/ttl", null, OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, new Stat(), -1));
        say("time to live too long", () -> zk.create("/ttl", null, OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, new Stat(), 1L << 40));
        say("time to live of the longest", () -> zk.create("/ttl", null, OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, new Stat(), (1L << 40) - 1));
        zk.create("/line", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int number = 0; number < 3; number++) {
            say("in line", () -> zk.create("/line/", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL));
        }
        zk.delete("/line/0000000001", -1);
        say("after a deletion", () ->
                zk.create("/line/n", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        say("no room in the numbers", () -> zk.create("/line/n0000000004", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("the next", () -> zk.create("/line/n", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL));
        say("odd names", () -> zk.create("/ü 漢 \uFFEF.", bytes("ü"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("ephemerals", () -> new TreeSet<>(zk.getEphemerals()));
        say("ephemerals below", () -> new TreeSet<>(zk.getEphemerals("/line")));
        say("another's", () -> other.getEphemerals());
        say("ephemerals of nowhere", () -> zk.getEphemerals("/nowhere"));
    }

    private void data() throws Exception {
        zk.create("/data", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        say("null", () -> print(zk.getData("/data", false, stat)));
        say("stat", () -> print(stat));
        say("set empty", () -> print(zk.setData("/data", new byte[0], 0)));
        say("empty", () -> print(zk.getData("/data", false, stat)));
        say("set null", () -> print(zk.setData("/data", null, 1)));
        say("null", () -> print(zk.getData("/data", false, stat)));
        say("stat", () -> print(stat));
        say("wrong version", () -> print(zk.setData("/data", bytes("x"), 1)));
        say("any version", () -> print(zk.setData("/data", bytes("x"), -1)));
        say("big", () -> print(zk.setData("/data", new byte[1_000_000], 3)));
        say("big", () -> zk.getData("/data", false, stat).length);
        say("stat", () -> print(stat));
        say("nowhere", () -> print(zk.setData("/nowhere", bytes("x"), -1)));
        say("nowhere", () -> print(zk.getData("/nowhere", false, stat)));
        say("exists", () -> print(zk.exists("/data", false)));
        say("exists not", () -> print(zk.exists("/nowhere", false)));
        say("root", () -> print(zk.getData("/", false, stat)));
        say("set root", () -> zk.setData("/", bytes("root"), -1).getVersion());
        say("sync", () -> sync("/data"));
        say("sync nowhere", () -> sync("/nowhere"));
        zk.delete("/data", -1);
    }

    private void children() throws Exception {
        zk.create("/parent", bytes("p"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (String name : List.of("b", "a", "c")) {
            zk.create("/parent/" + name, null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            zk.create("/parent/" + name + "/x", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        }
        zk.delete("/parent/c/x", 0);
        zk.delete("/parent/c", 0);
        Stat stat = new Stat();
        say("children", () -> new TreeSet<>(zk.getChildren("/parent", false)));
        say("with stat", () -> new TreeSet<>(zk.getChildren("/parent", false, stat)));
        say("stat", () -> print(stat));
        say("none", () -> zk.getChildren("/parent/a/x", false, stat));
        say("stat", () -> print(stat));
        say("nowhere", () -> zk.getChildren("/nowhere", false));
        say("all below", () -> zk.getAllChildrenNumber("/parent"));
        say("all below nowhere", () -> zk.getAllChildrenNumber("/nowhere"));
    }

    private void deletion() throws Exception {
        say("not empty", () -> delete("/parent", -1));
        say("wrong version", () -> delete("/parent/a/x", 1));
        say("right version", () -> delete("/parent/a/x", 0));
        say("gone", () -> delete("/parent/a/x", 0));
        say("another's ephemeral", () -> {
            other.delete("/parent/b/x", -1);
            return "deleted";
        });
        say("root", () -> delete("/", -1));
    }

    private void multi() throws Exception {
        zk.create("/multi", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("all of it", () -> print(zk.multi(List.of(
                Op.check("/multi", 0),
                Op.create("/multi/a", bytes("a"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/multi/s", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.create("/multi/e", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL),
                Op.create("/multi/c", null, OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                Op.create("/multi/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 100_000),
                Op.create("/multi/ts", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, 100_000),
                Op.setData("/multi/a", bytes("b"), 0),
                Op.check("/multi/a", 1),
                Op.delete("/multi/e", -1)))));
        say("children", () -> new TreeSet<>(zk.getChildren("/multi", false)));
        say("stat", () -> print(zk.exists("/multi", false)));
        say("stat", () -> print(zk.exists("/multi/a", false)));
        List<Op> failing = List.of(
                Op.create("/multi/b", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData("/multi/a", bytes("c"), 7),
                Op.delete("/multi/c", -1));
        say("refused", () -> print(zk.multi(failing)));
        say("results", () -> {
            try {
                return zk.multi(failing);
            } catch (KeeperException refused) {
                return print(refused.getResults());
            }
        });
        say("nothing was done", () -> zk.exists("/multi/b", false));
        for (Op op : List.of(
                Op.check("/nowhere", 0),
                Op.check("/multi", 3),
                Op.delete("/multi", -1),
                Op.delete("/nowhere", -1),
                Op.setData("/nowhere", null, -1),
                Op.create("/multi/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/nowhere/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/x", null, List.of(), CreateMode.PERSISTENT))) {
            say("refused " + op.getKind() + " " + op.getPath(), () -> print(zk.multi(List.of(op))));
        }
        say("nothing asked", () -> print(zk.multi(List.of())));
        say("a transaction", () -> print(zk.transaction()
                .create("/multi/tx", bytes("1"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
                .setData("/multi/tx", bytes("2"), 0)
                .check("/multi/tx", 1)
                .delete("/multi/a", -1)
                .commit()));
        say("stat", () -> print(zk.exists("/multi/tx", false)));
    }

    private void multiRead() throws Exception {
        say("all of it", () -> print(zk.multi(List.of(
                Op.getData("/multi/tx"), Op.getChildren("/multi"), Op.getData("/nowhere"), Op.getChildren("/nowhere"),
                Op.getData("/multi"), Op.getChildren("/multi/tx")))));
    }

    private void oneShotWatches() throws Exception {
        zk.create("/w", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Events own = new Events();
        say("exists", () -> print(zk.exists("/w/later", own)));
        other.create("/w/later", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("created", own::next);
        say("data", () -> print(zk.getData("/w/later", own, null)));
        other.setData("/w/later", bytes("1"), -1);
        other.setData("/w/later", bytes("2"), -1);
        say("set", own::next);
        zk.getChildren("/w", own);
        other.create("/w/second", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("children", own::next);
        zk.getChildren("/w/later", own);
        zk.exists("/w/later", own);
        zk.getData("/w/later", own, null);
        other.delete("/w/later", -1);
        say("deleted", own::next);
        say("the default watcher", () -> print(zk.exists("/w/second", true)));
        other.setData("/w/second", null, -1);
        say("set", events::next);
        say("a watch of what is refused", () -> zk.getData("/w/refused", own, null));
        other.create("/w/refused", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.getChildren("/w", own);
        other.multi(List.of(
                Op.create("/w/m1", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/w/m2", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)));
        say("once for a multi", own::next);
        zk.exists("/w/own", own);
        zk.create("/w/own", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("of one's own change", own::next);
        sync("/");
        say("and no more", own::left);
    }

    private void persistentWatches() throws Exception {
        zk.create("/p", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create("/p/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Events one = new Events();
        Events all = new Events();
        zk.addWatch("/p/a", one, AddWatchMode.PERSISTENT);
        zk.addWatch("/p", all, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.addWatch("/p/not-yet", one, AddWatchMode.PERSISTENT);
        zk.create("/q", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.addWatch("/q", AddWatchMode.PERSISTENT);
        for (int round = 0; round < 2; round++) {
            other.setData("/p/a", null, -1);
            other.create("/p/a/b", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.create("/p/a/b/c", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.setData("/p/a/b/c", null, -1);
            other.delete("/p/a/b/c", -1);
            other.delete("/p/a/b", -1);
            other.create("/p/not-yet", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.delete("/p/not-yet", -1);
            other.setACL("/p/a", OPEN_ACL_UNSAFE, -1);
        }
        other.delete("/p/a", -1);
        other.create("/p/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        other.setData("/p", null, -1);
        other.setData("/q", null, -1);
        other.delete("/q", -1);
        sync("/p");
        say("one", one::left);
        say("all below", all::left);
        say("the default watcher", events::left);
    }

    private void removingWatches() throws Exception {
        Events own = new Events();
        zk.create("/r", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.getData("/r", own, null);
        zk.getChildren("/r", own);
        for (Watcher.WatcherType type : Watcher.WatcherType.values()) {
            say("none of another's " + type, () -> {
                zk.removeWatches("/r", others, type, false);
                return "removed";
            });
        }
        say("on the server alone", () -> {
            other.removeAllWatches("/r", Watcher.WatcherType.Any, false);
            return "removed";
        });
        say("data", () -> {
            zk.removeWatches("/r", own, Watcher.WatcherType.Data, false);
            return own.next();
        });
        other.setData("/r", null, -1);
        other.create("/r/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("children are watched still", own::next);
        zk.getChildren("/r", own);
        zk.exists("/r", own);
        say("all", () -> {
            zk.removeAllWatches("/r", Watcher.WatcherType.Any, false);
            return List.of(own.next(), own.next());
        });
        zk.addWatch("/r", own, AddWatchMode.PERSISTENT);
        say("persistent", () -> {
            zk.removeWatches("/r", own, Watcher.WatcherType.Any, false);
            return own.next();
        });
        zk.addWatch("/r", own, AddWatchMode.PERSISTENT_RECURSIVE);
        say("recursive", () -> {
            zk.removeWatches("/r", own, Watcher.WatcherType.Any, false);
            return own.next();
        });
        other.delete("/r/a", -1);
        other.setData("/r", null, -1);
        sync("/r");
        say("nothing is watched", own::left);
    }

    private void access() throws Exception {
        say("nobody yet", () -> identities(zk));
        say("creator", () -> zk.create("/acl", null, CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        zk.addAuthInfo("digest", bytes("anna:secret"));
        zk.addAuthInfo("digest", bytes("bert:word"));
        say("who", () -> identities(zk));
        say("creator", () -> zk.create("/acl", bytes("d"), CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        Stat stat = new Stat();
        say("as listed", () -> zk.getACL("/acl", stat));
        say("stat", () -> print(stat));
        say("another: data", () -> other.getData("/acl", false, null));
        say("another: exists", () -> print(other.exists("/acl", false)));
        say("another: children", () -> other.getChildren("/acl", false));
        say("another: list", () -> other.getACL("/acl", null));
        say("another: set", () -> other.setData("/acl", null, -1));
        say("another: create", () -> other.create("/acl/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("another: set list", () -> other.setACL("/acl", OPEN_ACL_UNSAFE, -1));
        say("another: multi", () -> print(other.multi(List.of(Op.setData("/acl", null, -1)))));
        say("another: check", () -> print(other.multi(List.of(Op.check("/acl", -1)))));
        say("another: watch", () -> print(other.exists("/acl", others)));
        zk.create("/acl/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("another: delete", () -> {
            other.delete("/acl/a", -1);
            return "deleted";
        });
        Id carl = new Id("digest", DigestAuthenticationProvider.generateDigest("carl:pass"));
        List<ACL> list = list(new ACL(31, carl), new ACL(1, new Id("world", "anyone")));
        say("set list", () -> print(zk.setACL("/acl", list, 0)));
        say("set list, wrong version", () -> print(zk.setACL("/acl", list, 0)));
        say("shut out", () -> zk.setData("/acl", null, -1));
        say("what everybody sees", () -> other.getACL("/acl", stat));
        other.addAuthInfo("digest", bytes("carl:pass"));
        say("what the administrator sees", () -> other.getACL("/acl", stat));
        say("stat", () -> print(stat));
        say("let in", () -> print(other.setData("/acl", null, -1)));
        say("same twice", () -> {
            other.setACL("/acl", list(list.get(0), list.get(0)), -1);
            return other.getACL("/acl", null);
        });
        for (Id id : List.of(
                new Id("none", "such"), new Id("digest", "no colon"), new Id("world", "somebody"), new Id("ip", "1.2.3"),
                new Id("auth", "ignored"), new Id("ip", "10.0.0.0/40"), new Id("x509", "CN=a"), new Id("sasl", "a"),
                new Id("super", "a"), new Id("digest", ""), new Id("ip", "127.0.0.1/8"), new Id("ip", "10.0.0.1"))) {
            String path = "/id-" + id.getScheme() + "-" + id.getId().replace('/', '-');
            say("list " + id, () -> zk.create(path, null, list(new ACL(31, id)), CreateMode.PERSISTENT));
            say("listed", () -> zk.getACL(path, null));
            say("read", () -> print(zk.getData(path, false, null)));
        }
        say("read alone", () -> zk.create("/read", null, READ_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("set", () -> zk.setData("/read", null, -1));
        say("below", () -> zk.create("/read/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("no rights", () -> zk.create("/rights", null, list(new ACL(0, carl)), CreateMode.PERSISTENT));
        say("list of nowhere", () -> zk.getACL("/nowhere", null));
        say("set list of nowhere", () -> zk.setACL("/nowhere", OPEN_ACL_UNSAFE, -1));
        Events refused = new Events();
        ZooKeeper third = connect(address, refused);
        third.addAuthInfo("none", bytes("such"));
        say("a scheme that is none", refused::next);
        say("afterwards", () -> print(third.exists("/", false)));
        third.close();
    }

    private void addresses() throws Exception {
        say("by address", () -> zk.create("/ip", null,
                list(new ACL(31, new Id("ip", "127.0.0.1"))), CreateMode.PERSISTENT));
        say("set", () -> print(zk.setData("/ip", null, 0)));
        say("by others", () -> zk.create("/ip2", null,
                list(new ACL(31, new Id("ip", "127.1.0.0/16"))), CreateMode.PERSISTENT));
        say("set", () -> print(zk.setData("/ip2", null, 0)));
    }

    private void reconfiguration() throws Exception {
        ZooKeeperAdmin admin = new ZooKeeperAdmin(address, SESSION, new Events());
        say("incremental", () -> admin.reconfigure("server.9=127.0.0.1:1:2:observer;3", null, null, -1, null));
        say("members", () -> admin.reconfigure(null, null, "server.9=127.0.0.1:1:2:participant;3", -1, null));
        admin.close();
    }

    private void chroot() throws Exception {
        zk.create("/root", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create("/root/inner", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Events own = new Events();
        ZooKeeper inner = connect(address + "/root/inner", own);
        say("sequential", () -> inner.create("/n-", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        say("multi", () -> print(inner.multi(List.of(
                Op.create("/m", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), Op.delete("/m", -1)))));
        say("children", () -> inner.getChildren("/", true));
        zk.create("/root/inner/x", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        say("event", own::next);
        say("refused", () -> { inner.delete("/none", -1); return "deleted"; });
        inner.close();
        say("its ephemeral has gone", () -> zk.getChildren("/root/inner", false));
        ZooKeeper nowhere = connect(address + "/no/such", new Events());
        say("nowhere", () -> nowhere.create("/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        nowhere.close();
    }

    private void asynchronous() throws Exception {
        int count = 2_000;
        CountDownLatch answered = new CountDownLatch(3 * count);
        List<String> wrong = Collections.synchronizedList(new ArrayList<>());
        AtomicInteger turn = new AtomicInteger();
        zk.create("/async", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int index = 0; index < count; index++) {
            String expected = String.format("/async/n%010d", index);
            int first = 3 * index;
            zk.create("/async/n", bytes("" + index), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL,
                    (rc, path, context, name, stat) -> {
                        if (rc != 0 || !expected.equals(name) || turn.getAndIncrement() != first) {
                            wrong.add("create " + rc + " " + name);
                        }
                        answered.countDown();
                    }, null);
            zk.getData(expected, false, (rc, path, context, data, stat) -> {
                if (rc != 0 || !(new String(data)).equals("" + first / 3) || turn.getAndIncrement() != first + 1) {
                    wrong.add("data " + rc + " " + path);
                }
                answered.countDown();
            }, null);
            zk.delete(expected, 0, (rc, path, context) -> {
                if (rc != 0 || turn.getAndIncrement() != first + 2) {
                    wrong.add("delete " + rc + " " + path);
                }
                answered.countDown();
            }, null);
        }
        say("all answered", () -> answered.await(PATIENCE, TimeUnit.SECONDS));
        say("out of turn", () -> wrong);
        say("stat", () -> print(zk.exists("/async", false)));
    }

    private void reconnecting() throws Exception {
        Gate gate = new Gate(address);
        Events states = new Events();
        Events own = new Events();
        ZooKeeper client = connect(gate.address(), states);
        long session = client.getSessionId();
        zk.create("/g", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (String name : List.of("set", "deleted", "children", "as-it-was", "both", "later")) {
            if (!name.equals("later")) {
                zk.create("/g/" + name, null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            }
        }
        client.create("/g/mine", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        client.addAuthInfo("digest", bytes("dora:d"));
        client.getData("/g/set", own, null);
        client.exists("/g/deleted", own);
        client.getChildren("/g/children", own);
        client.getData("/g/as-it-was", own, null);
        client.getData("/g/both", own, null);
        client.getChildren("/g/both", own);
        client.exists("/g/later", own);
        client.exists("/g/never", own);
        Events staying = new Events();
        client.addWatch("/g/as-it-was", staying, AddWatchMode.PERSISTENT);
        client.addWatch("/g/children", staying, AddWatchMode.PERSISTENT_RECURSIVE);
        gate.shut();
        say("away", states::next);
        own.clear();
        staying.clear();
        zk.setData("/g/set", null, -1);
        zk.delete("/g/deleted", -1);
        zk.create("/g/children/a", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.delete("/g/both", -1);
        zk.create("/g/later", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        gate.open();
        say("back", states::next);
        say("the same session", () -> client.getSessionId() == session);
        say("its ephemeral", () -> zk.exists("/g/mine", false) != null);
        say("identities", () -> identities(client));
        sync(client, "/");
        say("what has happened", () -> new TreeSet<>(own.left()));
        zk.setData("/g/as-it-was", null, -1);
        zk.create("/g/children/b", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        sync(client, "/");
        say("what happens", () -> new TreeSet<>(own.left()));
        say("to those that stay", staying::left);
        client.close();
        say("closed", () -> zk.exists("/g/mine", false) != null);
        gate.shut();
    }

    /** More than one SetWatches can take, so that the client sends several. */
    private void manyWatches() throws Exception {
        int count = 3_000;
        Gate gate = new Gate(address);
        Events states = new Events();
        ZooKeeper client = connect(gate.address(), states);
        CountDownLatch fired = new CountDownLatch(count);
        AtomicInteger events = new AtomicInteger();
        String prefix = "/many-" + "x".repeat(120) + "-";
        for (int index = 0; index < count; index++) {
            client.exists(prefix + index, event -> {
                if (event.getType() == Watcher.Event.EventType.NodeCreated) {
                    events.incrementAndGet();
                    fired.countDown();
                }
            });
        }
        gate.shut();
        say("away", states::next);
        for (int index = 0; index < count; index += 2) {
            zk.create(prefix + index, null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, (rc, path, context, name) -> {}, null);
        }
        sync("/");
        gate.open();
        say("back", states::next);
        for (int index = 1; index < count; index += 2) {
            zk.create(prefix + index, null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, (rc, path, context, name) -> {}, null);
        }
        say("all fired", () -> fired.await(PATIENCE, TimeUnit.SECONDS));
        sync(client, "/");
        say("how often", events::get);
        for (int index = 0; index < count; index++) {
            zk.delete(prefix + index, -1, (rc, path, context) -> {}, null);
        }
        sync("/");
        client.close();
        gate.shut();
    }

    /** As Curator's {@code KillSession}: a second handle goes on with the session, and closes it. */
    private void takeOver() throws Exception {
        // So that the first does not take it back meanwhile.
        Gate gate = new Gate(address);
        Events states = new Events();
        ZooKeeper first = connect(gate.address(), states);
        first.create("/mine", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events own = new Events();
        zk.exists("/mine", own);
        gate.shut();
        say("away", states::next);
        ZooKeeper second = new ZooKeeper(address, SESSION, own, first.getSessionId(), first.getSessionPasswd());
        say("connected", own::next);
        say("its own ephemeral", () ->
                second.exists("/mine", false).getEphemeralOwner() == first.getSessionId());
        second.close();
        say("closed", () -> new TreeSet<>(List.of(own.next(), own.next())));
        gate.open();
        say("expired", states::next);
        say("afterwards", () -> print(first.exists("/", false)));
        first.close();
        gate.shut();
    }

    /** Apache ZooKeeper cuts the connection of the session whose password is guessed, which the session survives. */
    private void wrongPassword() throws Exception {
        ZooKeeper owner = connect(address, new Events());
        owner.create("/others", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events states = new Events();
        ZooKeeper thief = new ZooKeeper(address, SESSION, states, owner.getSessionId(), new byte[16]);
        say("refused", states::next);
        say("state", thief::getState);
        thief.close();
        Events none = new Events();
        ZooKeeper ghost = new ZooKeeper(address, SESSION, none, 0x1234_5678L, new byte[16]);
        say("no such session", none::next);
        ghost.close();
        say("unharmed", () -> print(zk.exists("/others", false)));
        // It may be on its way back, and a session that is closed meanwhile is closed on one side only.
        while (true) {
            try {
                owner.exists("/", false);
                break;
            } catch (KeeperException.ConnectionLossException away) {
                Thread.sleep(10);
            }
        }
        owner.close();
    }

    private void readOnly() throws Exception {
        Events states = new Events();
        ZooKeeper client = new ZooKeeper(address, SESSION, states, true);
        say("connected", states::next);
        say("state", client::getState);
        say("write", () -> client.create("/written", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        client.close();
        for (int timeout : new int[] {600, 5_000, 100_000}) {
            Events connected = new Events();
            ZooKeeper asking = new ZooKeeper(address, timeout, connected);
            connected.next();
            say("timeout asked for " + timeout, asking::getSessionTimeout);
            asking.close();
        }
    }

    private void closing() throws Exception {
        Events states = new Events();
        ZooKeeper client = connect(address, states);
        Events own = new Events();
        client.create("/closing", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        client.create("/closing-s-", null, OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
        zk.exists("/closing", own);
        client.close();
        say("closed", states::next);
        say("seen", own::next);
        say("ephemeral", () -> print(zk.exists("/closing", false)));
        say("afterwards", () -> client.exists("/", false));
        say("what is left", () -> new TreeSet<>(zk.getChildren("/", false)));
        say("root", () -> print(zk.exists("/", false)));
    }

    // What is printed.

    private interface Section {
        void run() throws Exception;
    }

    private interface Question {
        Object ask() throws Exception;
    }

    private void section(String name, Section section) throws Exception {
        System.out.println("== " + name);
        section.run();
    }

    private static void say(Object what, Question question) throws Exception {
        Object answer;
        try {
            answer = question.ask();
        } catch (KeeperException refused) {
            answer = "refused " + refused.code() + " " + refused.getPath();
        } catch (IllegalArgumentException refused) {
            answer = "not sent";
        }
        System.out.println(what + ": " + answer);
    }

    private Object delete(String path, int version) throws Exception {
        zk.delete(path, version);
        return "deleted";
    }

    private Object sync(String path) throws Exception {
        return sync(zk, path);
    }

    /** Once it returns, everything that was sent before has been heard, and its events handed out. */
    private static Object sync(ZooKeeper client, String path) throws Exception {
        BlockingQueue<String> answer = new LinkedBlockingQueue<>();
        client.sync(path, (rc, asked, context) -> answer.add(KeeperException.Code.get(rc) + " " + asked), null);
        return answer.poll(PATIENCE, TimeUnit.SECONDS);
    }

    private static Object identities(ZooKeeper client) throws Exception {
        return client.whoAmI().stream()
                .map(identity -> identity.getAuthScheme() + ":" + identity.getUser())
                .collect(Collectors.toCollection(TreeSet::new));
    }

    /** The client asks whether it holds a null, which those of {@link List#of} do not stand. */
    private static List<ACL> list(ACL... entries) {
        return Arrays.asList(entries);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String print(byte[] data) {
        return data == null ? "null" : "'" + new String(data, StandardCharsets.UTF_8) + "'";
    }

    private static String print(Stat stat) {
        if (stat == null) {
            return "none";
        }
        String owner = stat.getEphemeralOwner() == 0 ? "nobody" : "a session";
        long[] zxids = {stat.getCzxid(), stat.getMzxid(), stat.getPzxid()};
        String order = Arrays.stream(zxids)
                .mapToObj(zxid -> "" + Arrays.stream(zxids).distinct().filter(before -> before < zxid).count())
                .collect(Collectors.joining(" "));
        return "zxids in order " + order + ", version " + stat.getVersion() + ", cversion " + stat.getCversion()
                + ", aversion " + stat.getAversion() + ", of " + owner + ", length " + stat.getDataLength()
                + ", children " + stat.getNumChildren() + "" + (stat.getMtime() < stat.getCtime() ? ", set before it was made" : "");
    }

    /** Of a node that is there from the start, so that everything is the same on every server. */
    private static String whole(Stat stat) {
        return whole(stat, stat.getCtime() + " " + stat.getMtime() + ", ", 0);
    }

    private static String whole(Stat stat, String times, long start) {
        return times + "zxids " + (stat.getCzxid() - start) + " " + (stat.getMzxid() - start) + " "
                + (stat.getPzxid() - start) + ", owner " + stat.getEphemeralOwner() + ", " + print(stat);
    }

    private static String print(List<OpResult> results) {
        return results.stream().map(JavaClient::print).collect(Collectors.joining("; "));
    }

    private static String print(OpResult result) {
        if (result instanceof OpResult.CreateResult created) {
            return "created " + created.getPath() + (created.getStat() == null ? "" : " " + print(created.getStat()));
        } else if (result instanceof OpResult.SetDataResult set) {
            return "set " + print(set.getStat());
        } else if (result instanceof OpResult.GetDataResult data) {
            return "data " + print(data.getData()) + " " + print(data.getStat());
        } else if (result instanceof OpResult.GetChildrenResult children) {
            return "children " + new TreeSet<>(children.getChildren());
        } else if (result instanceof OpResult.ErrorResult error) {
            return "error " + KeeperException.Code.get(error.getErr());
        }
        return result.getClass().getSimpleName();
    }

    /** The events that a watcher is told of. */
    private static final class Events implements Watcher {
        private final BlockingQueue<String> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            queue.add(event.getType() + " " + event.getState() + " " + event.getPath());
        }

        String next() throws Exception {
            String event = queue.poll(PATIENCE, TimeUnit.SECONDS);
            return event == null ? "nothing, in " + PATIENCE + " seconds" : event;
        }

        /** Without what is said of the connection, which every watcher hears in its own time. */
        List<String> left() {
            List<String> left = new ArrayList<>();
            queue.drainTo(left);
            left.removeIf(event -> event.startsWith("None "));
            return left;
        }

        void clear() {
            queue.clear();
        }
    }

    private static ZooKeeper connect(String address, Events events) throws Exception {
        ZooKeeper client = new ZooKeeper(address, SESSION, events, new ZKClientConfig());
        String event = events.next();
        if (!event.equals("None SyncConnected null")) {
            throw new IllegalStateException(event);
        }
        return client;
    }
}
