import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.utils.CloseableUtils;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Curator's recipes, several clients with a session each contending in every one: {@code CuratorSuite HOST:PORT}. The
 * server has to be empty, and to allow times to live.
 *
 * <p>Each check prints its name and how long it took. The first that fails ends the process with its name and what was
 * found.
 */
public final class CuratorSuite {
    private static final int SESSION = 30_000; // so long that no slow machine ends it
    private static final long PATIENCE = 60; // seconds
    private static final int CLIENTS = 3;

    private final String address;
    private final List<CuratorFramework> clients = new ArrayList<>();
    private final CuratorFramework client;
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    private CuratorSuite(String address) throws Exception {
        this.address = address;
        for (int number = 0; number < CLIENTS; number++) {
            clients.add(connect(address));
        }
        client = clients.get(0);
    }

    public static void main(String[] args) throws Exception {
        CuratorSuite suite = new CuratorSuite(args[0]);
        suite.run();
        suite.clients.forEach(CuratorFramework::close);
        System.exit(0);
    }

    private void run() {
        check("InterProcessMutex excludes, and is re-entrant", this::mutex);
        check("InterProcessSemaphoreMutex excludes", this::semaphoreMutex);
        check("InterProcessReadWriteLock: writers alone, readers together", this::readWriteLock);
        check("InterProcessMultiLock takes all or none", this::multiLock);
        check("InterProcessSemaphoreV2 lets so many in", this::semaphore);
        check("LeaderLatch has one leader, and another when it leaves", this::leaderLatch);
        check("LeaderSelector leads in turns", this::leaderSelector);
        check("DistributedBarrier holds everybody up", this::barrier);
        check("DistributedDoubleBarrier begins and ends together", this::doubleBarrier);
        check("PathChildrenCache follows the children", this::pathChildrenCache);
        check("NodeCache follows a node", this::nodeCache);
        check("TreeCache follows a tree", this::treeCache);
        check("CuratorCache follows a tree by a persistent watch", this::curatorCache);
        check("PersistentWatcher is told of all below", this::persistentWatcher);
        check("DistributedQueue hands out each item once", this::queue);
        check("DistributedQueue with a lock path hands out each item", this::lockedQueue);
        check("DistributedPriorityQueue hands out in order of priority", this::priorityQueue);
        check("DistributedDelayQueue holds items back", this::delayQueue);
        check("SimpleDistributedQueue hands out each item once", this::simpleQueue);
        check("DistributedAtomicLong counts exactly", this::atomicLong);
        check("SharedCount and SharedValue are set by one at a time", this::shared);
        check("PersistentNode comes back", this::persistentNode);
        check("PersistentTtlNode is kept alive", this::persistentTtlNode);
        check("GroupMember sees the others", this::groupMembers);
        check("transactions are done whole or not at all", this::transactions);
        check("protected creation, parents, deletion of all below", this::building);
        check("ServiceDiscovery registers, finds and forgets", this::discovery);
        check("a session that another handle ends is lost, and the recipes come back", this::sessionLost);
        check("connections that are dropped leave sessions, locks and caches as they were", this::connectionsDropped);
    }

    // Locks.

    /** What only one is to enter at a time. */
    private static final class Room {
        private final AtomicInteger inside = new AtomicInteger();
        private final AtomicInteger most = new AtomicInteger();
        private int visits;

        /** Adds its visit without any protection but the lock's. */
        void visit() throws InterruptedException {
            enter();
            int before = visits;
            Thread.yield();
            visits = before + 1;
            leave();
        }

        void enter() {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
        }

        void leave() {
            inside.decrementAndGet();
        }
    }

    private interface Locks {
        InterProcessLock of(CuratorFramework client) throws Exception;
    }

    private void exclude(Locks locks) throws Exception {
        int rounds = 40;
        Room room = new Room();
        together(2, (each, number) -> {
            InterProcessLock lock = locks.of(each);
            for (int round = 0; round < rounds; round++) {
                ensure(lock.acquire(PATIENCE, TimeUnit.SECONDS), "the lock is not to be had");
                try {
                    room.visit();
                } finally {
                    lock.release();
                }
            }
        });
        equal(1, room.most.get(), "the most inside at once");
        equal(2 * CLIENTS * rounds, room.visits, "visits");
    }

    private void mutex() throws Exception {
        exclude(each -> new InterProcessMutex(each, "/mutex"));
        InterProcessMutex mutex = new InterProcessMutex(client, "/mutex");
        InterProcessMutex rival = new InterProcessMutex(clients.get(1), "/mutex");
        mutex.acquire();
        mutex.acquire();
        mutex.release();
        ensure(!rival.acquire(50, TimeUnit.MILLISECONDS), "it was released too early");
        equal(1, mutex.getParticipantNodes().size(), "participants");
        mutex.release();
        ensure(rival.acquire(PATIENCE, TimeUnit.SECONDS), "it was not released");
        rival.release();
        // Who is asked to gives the lock up.
        BlockingQueue<String> asked = new LinkedBlockingQueue<>();
        mutex.makeRevocable(each -> asked.add("revoked"));
        mutex.acquire();
        org.apache.curator.framework.recipes.locks.Revoker.attemptRevoke(
                clients.get(1), mutex.getParticipantNodes().iterator().next());
        equal("revoked", asked.poll(PATIENCE, TimeUnit.SECONDS), "what the holder hears");
        mutex.release();
    }

    private void semaphoreMutex() throws Exception {
        exclude(each -> new InterProcessSemaphoreMutex(each, "/semaphore-mutex"));
    }

    private void readWriteLock() throws Exception {
        exclude(each -> new InterProcessReadWriteLock(each, "/rw").writeLock());
        Room room = new Room();
        CountDownLatch all = new CountDownLatch(2 * CLIENTS);
        AtomicInteger writers = new AtomicInteger();
        together(2, (each, number) -> {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(each, "/rw");
            lock.readLock().acquire();
            room.enter();
            equal(0, writers.get(), "writers among the readers");
            all.countDown();
            ensure(all.await(PATIENCE, TimeUnit.SECONDS), "readers keep each other out");
            room.leave();
            lock.readLock().release();
            lock.writeLock().acquire();
            equal(1, writers.incrementAndGet(), "writers");
            equal(0, room.inside.get(), "readers beside a writer");
            // From writing to reading without letting go.
            lock.readLock().acquire();
            writers.decrementAndGet();
            lock.writeLock().release();
            lock.readLock().release();
        });
        equal(2 * CLIENTS, room.most.get(), "readers at once");
    }

    private void multiLock() throws Exception {
        List<String> paths = List.of("/multi-lock/a", "/multi-lock/b", "/multi-lock/c");
        exclude(each -> new InterProcessMultiLock(each, paths));
        InterProcessMutex one = new InterProcessMutex(client, "/multi-lock/b");
        one.acquire();
        InterProcessMultiLock all = new InterProcessMultiLock(clients.get(1), paths);
        ensure(!all.acquire(50, TimeUnit.MILLISECONDS), "one of them is held");
        InterProcessMutex other = new InterProcessMutex(clients.get(2), "/multi-lock/a");
        ensure(other.acquire(PATIENCE, TimeUnit.SECONDS), "another of them was kept");
        other.release();
        one.release();
        ensure(all.acquire(PATIENCE, TimeUnit.SECONDS), "all of them are free");
        all.release();
    }

    private void semaphore() throws Exception {
        int rounds = 20;
        int leases = 3;
        Room room = new Room();
        AtomicInteger done = new AtomicInteger();
        CountDownLatch full = new CountDownLatch(leases);
        together(2, (each, number) -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(each, "/semaphore", leases);
            for (int round = 0; round < rounds; round++) {
                Lease lease = semaphore.acquire(PATIENCE, TimeUnit.SECONDS);
                ensure(lease != null, "no lease is to be had");
                room.enter();
                full.countDown();
                ensure(full.await(PATIENCE, TimeUnit.SECONDS), "not as many are let in as may");
                room.leave();
                done.incrementAndGet();
                semaphore.returnLease(lease);
            }
        });
        equal(2 * CLIENTS * rounds, done.get(), "leases");
        equal(leases, room.most.get(), "the most at once");
    }

    // Elections.

    private void leaderLatch() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            LeaderLatch latch = new LeaderLatch(clients.get(number), "/latch", "member " + number);
            latch.start();
            latches.add(latch);
        }
        Set<String> leaders = new TreeSet<>();
        while (!latches.isEmpty()) {
            LeaderLatch leading = until("a leader", () ->
                    latches.stream().filter(LeaderLatch::hasLeadership).findFirst().orElse(null));
            equal(1L, latches.stream().filter(LeaderLatch::hasLeadership).count(), "leaders");
            for (LeaderLatch each : latches) {
                until("everybody to see " + leading.getId(), () -> each.getLeader().getId().equals(leading.getId()) ? this : null);
                untilEqual(latches.size(), () -> each.getParticipants().size());
            }
            leaders.add(leading.getId());
            leading.close();
            latches.remove(leading);
        }
        equal(CLIENTS, leaders.size(), "leaders in turn");
    }

    private void leaderSelector() throws Exception {
        int turns = 5;
        Room room = new Room();
        CountDownLatch led = new CountDownLatch(turns * CLIENTS);
        Map<Integer, AtomicInteger> counts = new ConcurrentHashMap<>();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            int own = number;
            counts.put(own, new AtomicInteger());
            LeaderSelector selector = new LeaderSelector(clients.get(number), "/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework leading) throws Exception {
                    room.visit();
                    counts.get(own).incrementAndGet();
                    led.countDown();
                }
            });
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
        }
        ensure(led.await(PATIENCE, TimeUnit.SECONDS), "leadership is not handed on: " + counts);
        selectors.forEach(LeaderSelector::close);
        equal(1, room.most.get(), "leaders at once");
        ensure(counts.values().stream().allMatch(count -> count.get() > 0), "somebody never led: " + counts);
    }

    // Barriers.

    private void barrier() throws Exception {
        new DistributedBarrier(client, "/barrier").setBarrier();
        ensure(!new DistributedBarrier(clients.get(1), "/barrier").waitOnBarrier(50, TimeUnit.MILLISECONDS), "it is open");
        AtomicInteger through = new AtomicInteger();
        CountDownLatch before = new CountDownLatch(2 * CLIENTS);
        Future<?> everybody = threads.submit(() -> {
            together(2, (each, number) -> {
                before.countDown();
                ensure(new DistributedBarrier(each, "/barrier").waitOnBarrier(PATIENCE, TimeUnit.SECONDS), "it stays shut");
                through.incrementAndGet();
            });
            return null;
        });
        ensure(before.await(PATIENCE, TimeUnit.SECONDS), "nobody comes");
        client.sync().forPath("/barrier");
        equal(0, through.get(), "through before it is removed");
        new DistributedBarrier(client, "/barrier").removeBarrier();
        everybody.get(PATIENCE, TimeUnit.SECONDS);
        equal(2 * CLIENTS, through.get(), "through");
    }

    private void doubleBarrier() throws Exception {
        int members = 2 * CLIENTS;
        AtomicInteger coming = new AtomicInteger();
        AtomicInteger going = new AtomicInteger();
        together(2, (each, number) -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(each, "/double", members);
            coming.incrementAndGet();
            ensure(barrier.enter(PATIENCE, TimeUnit.SECONDS), "they do not begin");
            equal(members, coming.get(), "who had come at the begin");
            going.incrementAndGet();
            ensure(barrier.leave(PATIENCE, TimeUnit.SECONDS), "they do not end");
            // Curator lets the others go while the first of them has yet to leave.
            ensure(going.get() >= members - 1, "only " + going + " were going at the end");
        });
    }

    // Caches.

    /** Ten children made, some set, some deleted, by another client. What is left. */
    private Map<String, String> change(String parent) throws Exception {
        CuratorFramework other = clients.get(1);
        Map<String, String> left = new TreeMap<>();
        for (int number = 0; number < 10; number++) {
            String path = parent + "/n" + number;
            other.create().creatingParentsIfNeeded().forPath(path, bytes("new"));
            left.put(path, "new");
            if (number % 2 == 0) {
                other.setData().forPath(path, bytes("set"));
                left.put(path, "set");
            }
            if (number % 3 == 0) {
                other.delete().forPath(path);
                left.remove(path);
            }
        }
        return left;
    }

    private void pathChildrenCache() throws Exception {
        client.create().forPath("/children");
        client.create().forPath("/children/before", bytes("b"));
        try (PathChildrenCache cache = new PathChildrenCache(client, "/children", true)) {
            Map<String, AtomicInteger> told = new ConcurrentHashMap<>();
            cache.getListenable().addListener((each, event) ->
                    told.computeIfAbsent(event.getType().name(), type -> new AtomicInteger()).incrementAndGet());
            cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
            equal(1, cache.getCurrentData().size(), "children at the start");
            Map<String, String> left = change("/children");
            left.put("/children/before", "b");
            untilEqual(left, () -> cache.getCurrentData().stream()
                    .collect(Collectors.toMap(child -> child.getPath(), child -> text(child.getData()), (a, b) -> a, TreeMap::new)));
            untilEqual(left.size() - 1, () -> told.getOrDefault("CHILD_ADDED", new AtomicInteger()).get()
                    - told.getOrDefault("CHILD_REMOVED", new AtomicInteger()).get());
        }
    }

    private void nodeCache() throws Exception {
        try (NodeCache cache = new NodeCache(client, "/cached")) {
            AtomicInteger changes = new AtomicInteger();
            cache.getListenable().addListener(changes::incrementAndGet);
            cache.start(true);
            ensure(cache.getCurrentData() == null, "there is no node yet");
            CuratorFramework other = clients.get(1);
            other.create().forPath("/cached", bytes("1"));
            untilEqual("1", () -> cache.getCurrentData() == null ? null : text(cache.getCurrentData().getData()));
            for (int number = 2; number <= 20; number++) {
                other.setData().forPath("/cached", bytes("" + number));
            }
            untilEqual("20", () -> text(cache.getCurrentData().getData()));
            other.delete().forPath("/cached");
            untilEqual(null, cache::getCurrentData);
            other.create().forPath("/cached", bytes("again"));
            untilEqual("again", () -> cache.getCurrentData() == null ? null : text(cache.getCurrentData().getData()));
            ensure(changes.get() >= 3, "the listener hears: " + changes);
        }
    }

    private void treeCache() throws Exception {
        try (TreeCache cache = new TreeCache(client, "/tree")) {
            CountDownLatch initialized = new CountDownLatch(1);
            cache.getListenable().addListener((each, event) -> {
                if (event.getType().name().equals("INITIALIZED")) {
                    initialized.countDown();
                }
            });
            client.create().forPath("/tree", bytes("t"));
            cache.start();
            ensure(initialized.await(PATIENCE, TimeUnit.SECONDS), "it does not begin");
            Map<String, String> left = change("/tree/a");
            left.putAll(change("/tree/a/n1/b"));
            untilEqual(left.keySet().stream().filter(path -> path.startsWith("/tree/a/n1/b/")).collect(Collectors.toSet()),
                    () -> {
                        Map<String, ?> children = cache.getCurrentChildren("/tree/a/n1/b");
                        return children == null ? null
                                : children.keySet().stream().map(name -> "/tree/a/n1/b/" + name).collect(Collectors.toSet());
                    });
            for (Map.Entry<String, String> each : left.entrySet()) {
                untilEqual(each.getValue(), () -> cache.getCurrentData(each.getKey()) == null
                        ? null : text(cache.getCurrentData(each.getKey()).getData()));
            }
            clients.get(1).delete().deletingChildrenIfNeeded().forPath("/tree/a");
            untilEqual(Map.of(), () -> cache.getCurrentChildren("/tree"));
        }
    }

    private void curatorCache() throws Exception {
        client.create().forPath("/whole", bytes("w"));
        client.create().forPath("/whole/before", bytes("b"));
        Map<String, String> seen = new ConcurrentHashMap<>();
        AtomicInteger wrong = new AtomicInteger();
        try (CuratorCache cache = CuratorCache.build(client, "/whole")) {
            cache.listenable().addListener((type, before, after) -> {
                switch (type) {
                    case NODE_CREATED -> wrong.addAndGet(seen.put(after.getPath(), text(after.getData())) == null ? 0 : 1);
                    case NODE_CHANGED -> wrong.addAndGet(seen.put(after.getPath(), text(after.getData())) == null ? 1 : 0);
                    case NODE_DELETED -> wrong.addAndGet(seen.remove(before.getPath()) == null ? 1 : 0);
                }
            });
            cache.start();
            untilEqual(2, cache::size);
            Map<String, String> left = new TreeMap<>(change("/whole/a"));
            left.putAll(change("/whole/a/n2/b"));
            left.put("/whole", "w");
            left.put("/whole/before", "b");
            left.put("/whole/a", text(client.getData().forPath("/whole/a")));
            left.put("/whole/a/n2/b", text(client.getData().forPath("/whole/a/n2/b")));
            untilEqual(left, () -> new TreeMap<>(seen));
            untilEqual(left, () -> cache.stream()
                    .collect(Collectors.toMap(each -> each.getPath(), each -> text(each.getData()), (a, b) -> a, TreeMap::new)));
            clients.get(1).delete().deletingChildrenIfNeeded().forPath("/whole/a");
            untilEqual(Set.of("/whole", "/whole/before"), () -> new TreeSet<>(seen.keySet()));
        }
        equal(0, wrong.get(), "events that do not fit");
    }

    private void persistentWatcher() throws Exception {
        client.create().forPath("/watched");
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        try (PersistentWatcher watcher = new PersistentWatcher(client, "/watched", true)) {
            watcher.getListenable().addListener(event -> told.add(event.getType() + " " + event.getPath()));
            CountDownLatch set = new CountDownLatch(1);
            watcher.getResetListenable().addListener(set::countDown);
            watcher.start();
            ensure(set.await(PATIENCE, TimeUnit.SECONDS), "it is not set");
            CuratorFramework other = clients.get(1);
            other.create().creatingParentsIfNeeded().forPath("/watched/a/b", bytes("1"));
            other.setData().forPath("/watched/a/b", bytes("2"));
            other.delete().deletingChildrenIfNeeded().forPath("/watched/a");
            List<String> expected = List.of("NodeCreated /watched/a", "NodeCreated /watched/a/b",
                    "NodeDataChanged /watched/a/b", "NodeDeleted /watched/a/b", "NodeDeleted /watched/a");
            for (String event : expected) {
                equal(event, told.poll(PATIENCE, TimeUnit.SECONDS), "the next event");
            }
        }
    }

    // Queues.

    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return bytes(item);
        }

        @Override
        public String deserialize(byte[] item) {
            return text(item);
        }
    };

    private static final class Consumer implements QueueConsumer<String> {
        private final BlockingQueue<String> taken = new LinkedBlockingQueue<>();

        @Override
        public void consumeMessage(String item) {
            taken.add(item);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    /** Two consumers and a producer of each client: every item is taken once. */
    private void queue() throws Exception {
        consume("/queue", false);
    }

    private void lockedQueue() throws Exception {
        consume("/locked-queue", true);
    }

    private void consume(String path, boolean locked) throws Exception {
        int items = 60;
        Consumer consumer = new Consumer();
        List<DistributedQueue<String>> consumers = new ArrayList<>();
        for (CuratorFramework each : clients) {
            QueueBuilder<String> builder = QueueBuilder.builder(each, consumer, TEXT, path);
            DistributedQueue<String> queue = (locked ? builder.lockPath(path + "-locks") : builder).buildQueue();
            queue.start();
            consumers.add(queue);
        }
        together(1, (each, number) -> {
            try (DistributedQueue<String> producer = QueueBuilder.builder(each, null, TEXT, path).buildQueue()) {
                producer.start();
                for (int item = 0; item < items; item++) {
                    producer.put(number + "-" + item);
                }
                ensure(producer.flushPuts(PATIENCE, TimeUnit.SECONDS), "the items are not put");
            }
        });
        List<String> taken = take(consumer, items * CLIENTS);
        equal(items * CLIENTS, new TreeSet<>(taken).size(), "different items");
        consumers.forEach(CloseableUtils::closeQuietly);
        equal(0, consumer.taken.size(), "items taken twice");
        untilEqual(List.of(), () -> client.getChildren().forPath(path));
    }

    private List<String> take(Consumer consumer, int count) throws Exception {
        List<String> taken = new ArrayList<>();
        while (taken.size() < count) {
            String item = consumer.taken.poll(PATIENCE, TimeUnit.SECONDS);
            ensure(item != null, "only " + taken.size() + " of " + count + " items come");
            taken.add(item);
        }
        return taken;
    }

    private void priorityQueue() throws Exception {
        try (DistributedPriorityQueue<String> producer =
                QueueBuilder.builder(clients.get(1), null, TEXT, "/priorities").buildPriorityQueue(0)) {
            producer.start();
            for (int priority : new int[] {5, -3, 9, 0, 7, -8}) {
                producer.put("" + priority, priority);
            }
            ensure(producer.flushPuts(PATIENCE, TimeUnit.SECONDS), "the items are not put");
        }
        Consumer consumer = new Consumer();
        try (DistributedPriorityQueue<String> queue =
                QueueBuilder.builder(client, consumer, TEXT, "/priorities").executor(Runnable::run).buildPriorityQueue(0)) {
            queue.start();
            equal(List.of("-8", "-3", "0", "5", "7", "9"), take(consumer, 6), "the order");
        }
    }

    private void delayQueue() throws Exception {
        Consumer consumer = new Consumer();
        try (DistributedDelayQueue<String> queue =
                QueueBuilder.builder(client, consumer, TEXT, "/delays").buildDelayQueue()) {
            queue.start();
            long now = System.currentTimeMillis();
            queue.put("late", now + 400);
            queue.put("soon", now + 200);
            equal(List.of("soon", "late"), take(consumer, 2), "the order");
            ensure(System.currentTimeMillis() >= now + 400, "not held back");
        }
    }

    private void simpleQueue() throws Exception {
        int items = 40;
        Set<String> taken = ConcurrentHashMap.newKeySet();
        AtomicInteger count = new AtomicInteger();
        together(2, (each, number) -> {
            SimpleDistributedQueue queue = new SimpleDistributedQueue(each, "/simple");
            for (int item = 0; item < items; item++) {
                ensure(queue.offer(bytes(number + "-" + item)), "not offered");
            }
            for (int item = 0; item < items; item++) {
                byte[] next = queue.poll(PATIENCE, TimeUnit.SECONDS);
                ensure(next != null, "an item is missing");
                taken.add(text(next));
                count.incrementAndGet();
            }
        });
        equal(2 * CLIENTS * items, taken.size(), "different items");
        equal(2 * CLIENTS * items, count.get(), "items");
        ensure(new SimpleDistributedQueue(client, "/simple").poll() == null, "there are more than were put");
    }

    // Values.

    private void atomicLong() throws Exception {
        int rounds = 25;
        together(2, (each, number) -> {
            DistributedAtomicLong count = new DistributedAtomicLong(each, "/atomic", new RetryNTimes(10_000, 1));
            for (int round = 0; round < rounds; round++) {
                ensure(count.add((long) number).succeeded(), "not added");
            }
        });
        long expected = (long) rounds * (0 + 1 + 2 + 3 + 4 + 5);
        equal(expected, new DistributedAtomicLong(client, "/atomic", new RetryNTimes(0, 0)).get().postValue(), "the sum");
        DistributedAtomicLong count = new DistributedAtomicLong(client, "/atomic", new RetryNTimes(0, 0));
        ensure(!count.compareAndSet(expected + 1, 0L).succeeded(), "compared wrongly");
        ensure(count.compareAndSet(expected, 0L).succeeded(), "not compared");
        ensure(!count.initialize(7L), "initialized again");
    }

    private void shared() throws Exception {
        int rounds = 20;
        AtomicInteger heard = new AtomicInteger();
        try (SharedCount watched = new SharedCount(client, "/count", 0)) {
            watched.addListener(new SharedCountListener() {
                @Override
                public void countHasChanged(SharedCountReader reader, int count) {
                    heard.set(count);
                }

                @Override
                public void stateChanged(CuratorFramework each, ConnectionState state) {}
            });
            watched.start();
            together(1, (each, number) -> {
                try (SharedCount count = new SharedCount(each, "/count", 0)) {
                    count.start();
                    for (int round = 0; round < rounds; ) {
                        if (count.trySetCount(count.getVersionedValue(), count.getCount() + 1)) {
                            round++;
                        }
                    }
                }
            });
            untilEqual(CLIENTS * rounds, watched::getCount);
            untilEqual(CLIENTS * rounds, heard::get);
        }
        try (SharedValue one = new SharedValue(client, "/value", bytes("seed"));
                SharedValue other = new SharedValue(clients.get(1), "/value", bytes("other"))) {
            one.start();
            other.start();
            equal("seed", text(other.getValue()), "the value");
            one.setValue(bytes("set"));
            untilEqual("set", () -> text(other.getValue()));
        }
    }

    // Nodes.

    private void persistentNode() throws Exception {
        try (PersistentNode node = new PersistentNode(client, CreateMode.EPHEMERAL, false, "/persistent", bytes("p"))) {
            node.start();
            ensure(node.waitForInitialCreate(PATIENCE, TimeUnit.SECONDS), "it is not made");
            clients.get(1).delete().forPath("/persistent");
            until("it to come back", () -> clients.get(1).checkExists().forPath("/persistent"));
            node.setData(bytes("q"));
            untilEqual("q", () -> text(clients.get(1).getData().forPath("/persistent")));
        }
        untilEqual(null, () -> clients.get(1).checkExists().forPath("/persistent"));
    }

    private void persistentTtlNode() throws Exception {
        // Half of this time after it is made, and again and again, it is touched: by a node below with a time to live.
        try (PersistentTtlNode node = new PersistentTtlNode(client, "/ttl", 400, bytes("t"))) {
            node.start();
            ensure(node.waitForInitialCreate(PATIENCE, TimeUnit.SECONDS), "it is not made");
            untilEqual(List.of("touch"), () -> clients.get(1).getChildren().forPath("/ttl"));
            Stat touched = clients.get(1).checkExists().forPath("/ttl/touch");
            equal(0L, touched.getEphemeralOwner(), "the owner");
            until("it to be touched again", () ->
                    clients.get(1).checkExists().forPath("/ttl/touch").getVersion() > touched.getVersion() ? this : null);
        }
        Stat stat = new Stat();
        clients.get(1).create().withTtl(100_000).storingStatIn(stat).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/ttl2");
        equal(0, stat.getVersion(), "version");
    }

    private void groupMembers() throws Exception {
        List<GroupMember> members = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            GroupMember member = new GroupMember(clients.get(number), "/group", "member-" + number, bytes("" + number));
            member.start();
            members.add(member);
        }
        for (GroupMember each : members) {
            untilEqual(Map.of("member-0", "0", "member-1", "1", "member-2", "2"), () -> texts(each.getCurrentMembers()));
        }
        members.remove(2).close();
        for (GroupMember each : members) {
            untilEqual(Map.of("member-0", "0", "member-1", "1"), () -> texts(each.getCurrentMembers()));
        }
        members.forEach(GroupMember::close);
        untilEqual(List.of(), () -> client.getChildren().forPath("/group"));
    }

    private static Map<String, String> texts(Map<String, byte[]> members) {
        return members.entrySet().stream().collect(Collectors.toMap(Map.Entry::getKey, entry -> text(entry.getValue())));
    }

    private void transactions() throws Exception {
        Collection<CuratorTransactionResult> done = client.transaction().forOperations(
                client.transactionOp().create().forPath("/tx", bytes("1")),
                client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/tx/n-"),
                client.transactionOp().setData().withVersion(0).forPath("/tx", bytes("2")),
                client.transactionOp().check().withVersion(1).forPath("/tx"));
        equal(List.of("/tx", "/tx/n-0000000000"), done.stream().map(CuratorTransactionResult::getResultPath)
                .filter(path -> path != null).collect(Collectors.toList()), "paths");
        try {
            client.transaction().forOperations(
                    client.transactionOp().setData().forPath("/tx", bytes("3")),
                    client.transactionOp().delete().withVersion(9).forPath("/tx/n-0000000000"));
            throw new Failure("done in spite of a wrong version");
        } catch (KeeperException.BadVersionException refused) {
            equal(KeeperException.Code.BADVERSION.intValue(), refused.getResults().get(1) instanceof
                    org.apache.zookeeper.OpResult.ErrorResult error ? error.getErr() : 0, "the code");
        }
        equal("2", text(client.getData().forPath("/tx")), "the data");
        // Each client adds one by comparing: nothing is lost.
        int rounds = 20;
        client.create().forPath("/sum", bytes("0"));
        together(1, (each, number) -> {
            for (int round = 0; round < rounds; ) {
                Stat stat = new Stat();
                int before = Integer.parseInt(text(each.getData().storingStatIn(stat).forPath("/sum")));
                try {
                    each.transaction().forOperations(
                            each.transactionOp().check().withVersion(stat.getVersion()).forPath("/sum"),
                            each.transactionOp().setData().forPath("/sum", bytes("" + (before + 1))));
                    round++;
                } catch (KeeperException.BadVersionException other) {
                    // Somebody else was first.
                }
            }
        });
        equal("" + CLIENTS * rounds, text(client.getData().forPath("/sum")), "the sum");
    }

    private void building() throws Exception {
        String made = client.create().creatingParentContainersIfNeeded().withProtection()
                .withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/built/a/b-", bytes("x"));
        ensure(made.matches("/built/a/_c_[0-9a-f-]{36}-b-0000000000"), made);
        equal(client.getZookeeperClient().getZooKeeper().getSessionId(),
                client.checkExists().forPath(made).getEphemeralOwner(), "the owner");
        client.create().orSetData().forPath("/built/set", bytes("1"));
        client.create().orSetData().forPath("/built/set", bytes("2"));
        equal(1, client.checkExists().forPath("/built/set").getVersion(), "version");
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath("/built");
        ensure(client.checkExists().forPath("/built") == null, "it is still there");
        CuratorFramework inside = client.usingNamespace("inside");
        inside.create().forPath("/a", bytes("n"));
        equal("n", text(client.getData().forPath("/inside/a")), "in its namespace");
        byte[] big = new byte[500_000];
        client.create().compressed().forPath("/big", big);
        equal(big.length, client.getData().decompressed().forPath("/big").length, "length");
    }

    private void discovery() throws Exception {
        List<ServiceDiscovery<Void>> discoveries = new ArrayList<>();
        List<ServiceInstance<Void>> instances = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            ServiceInstance<Void> instance = ServiceInstance.<Void>builder()
                    .name("service").id("instance-" + number).address("127.0.0.1").port(1000 + number).build();
            ServiceDiscovery<Void> discovery = ServiceDiscoveryBuilder.builder(Void.class)
                    .client(clients.get(number)).basePath("/services").thisInstance(instance).build();
            discovery.start();
            discoveries.add(discovery);
            instances.add(instance);
        }
        ServiceDiscovery<Void> asking = discoveries.get(0);
        equal(List.of("service"), List.copyOf(asking.queryForNames()), "names");
        equal(CLIENTS, asking.queryForInstances("service").size(), "instances");
        equal(1002, asking.queryForInstance("service", "instance-2").getPort(), "port");
        try (ServiceCache<Void> cache = asking.serviceCacheBuilder().name("service").build();
                ServiceProvider<Void> provider = asking.serviceProviderBuilder().serviceName("service").build()) {
            cache.start();
            provider.start();
            untilEqual(CLIENTS, () -> cache.getInstances().size());
            Set<Integer> ports = new TreeSet<>();
            untilEqual(Set.of(1000, 1001, 1002), () -> {
                ServiceInstance<Void> next = provider.getInstance();
                if (next != null) {
                    ports.add(next.getPort());
                }
                return ports;
            });
            discoveries.get(2).unregisterService(instances.get(2));
            untilEqual(2, () -> cache.getInstances().size());
            discoveries.get(1).close();
            untilEqual(List.of("instance-0"), () ->
                    cache.getInstances().stream().map(ServiceInstance::getId).collect(Collectors.toList()));
        }
        discoveries.get(2).close();
        asking.close();
        equal(0, client.getChildren().forPath("/services/service").size(), "instances left");
    }

    // Faults.

    /** As Curator's `KillSession`: a second handle takes the session over and closes it. */
    private void sessionLost() throws Exception {
        // So that it is not taken back meanwhile.
        Gate gate = new Gate(address);
        CuratorFramework own = connect(gate.address());
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        own.getConnectionStateListenable().addListener((each, state) -> states.add(state));
        InterProcessMutex mutex = new InterProcessMutex(own, "/lost-mutex");
        mutex.acquire();
        PersistentNode node = new PersistentNode(own, CreateMode.EPHEMERAL, false, "/lost-node", bytes("n"));
        node.start();
        ensure(node.waitForInitialCreate(PATIENCE, TimeUnit.SECONDS), "it is not made");
        LeaderLatch latch = new LeaderLatch(own, "/lost-latch", "own");
        latch.start();
        latch.await();
        LeaderLatch waiting = new LeaderLatch(client, "/lost-latch", "other");
        waiting.start();
        ZooKeeper handle = own.getZookeeperClient().getZooKeeper();
        long session = handle.getSessionId();
        gate.shut();
        CountDownLatch taken = new CountDownLatch(1);
        ZooKeeper second = new ZooKeeper(address, SESSION, event -> taken.countDown(), session, handle.getSessionPasswd());
        ensure(taken.await(PATIENCE, TimeUnit.SECONDS), "the session is not taken over");
        second.close();
        gate.open();
        List<ConnectionState> seen = new ArrayList<>();
        while (!seen.contains(ConnectionState.RECONNECTED) || !seen.contains(ConnectionState.LOST)) {
            ConnectionState state = states.poll(PATIENCE, TimeUnit.SECONDS);
            ensure(state != null, "only " + seen);
            seen.add(state);
        }
        waiting.await();
        InterProcessMutex rival = new InterProcessMutex(client, "/lost-mutex");
        ensure(rival.acquire(PATIENCE, TimeUnit.SECONDS), "the lock outlives its session");
        rival.release();
        long another = own.getZookeeperClient().getZooKeeper().getSessionId();
        ensure(another != session, "the session is still the same");
        untilEqual(another, () -> {
            Stat stat = client.checkExists().forPath("/lost-node");
            return stat == null ? null : stat.getEphemeralOwner();
        });
        waiting.close();
        until("it leads again", () -> latch.hasLeadership() ? latch : null);
        latch.close();
        node.close();
        own.close();
        gate.shut();
    }

    private void connectionsDropped() throws Exception {
        Gate gate = new Gate(address);
        CuratorFramework own = connect(gate.address());
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        own.getConnectionStateListenable().addListener((each, state) -> {
            // It may be told of the beginning still.
            if (state != ConnectionState.CONNECTED) {
                states.add(state);
            }
        });
        long session = own.getZookeeperClient().getZooKeeper().getSessionId();
        client.create().forPath("/dropped");
        CuratorCache cache = CuratorCache.build(own, "/dropped");
        cache.start();
        NodeCache nodes = new NodeCache(own, "/dropped/3");
        nodes.start(true);
        untilEqual(1, cache::size);
        InterProcessMutex mutex = new InterProcessMutex(own, "/dropped-mutex");
        mutex.acquire();
        for (int round = 0; round < 5; round++) {
            gate.shut();
            equal(ConnectionState.SUSPENDED, states.poll(PATIENCE, TimeUnit.SECONDS), "away");
            client.create().forPath("/dropped/" + round, bytes("new"));
            client.setData().forPath("/dropped", bytes("" + round));
            gate.open();
            equal(ConnectionState.RECONNECTED, states.poll(PATIENCE, TimeUnit.SECONDS), "back");
            int expected = round + 2;
            untilEqual(expected, cache::size);
            String data = "" + round;
            untilEqual(data, () -> text(cache.get("/dropped").get().getData()));
        }
        untilEqual("new", () -> nodes.getCurrentData() == null ? null : text(nodes.getCurrentData().getData()));
        equal(session, own.getZookeeperClient().getZooKeeper().getSessionId(), "the session");
        ensure(!new InterProcessMutex(client, "/dropped-mutex").acquire(20, TimeUnit.MILLISECONDS), "the lock was lost");
        mutex.release();
        nodes.close();
        cache.close();
        own.close();
        gate.shut();
    }

    // What the checks are made of.

    private static final class Failure extends RuntimeException {
        Failure(String message) {
            super(message);
        }
    }

    private interface Check {
        void run() throws Exception;
    }

    private interface Part {
        void play(CuratorFramework client, int number) throws Exception;
    }

    private static void check(String name, Check check) {
        long begin = System.nanoTime();
        try {
            check.run();
        } catch (Throwable failure) {
            Throwable cause = failure instanceof java.util.concurrent.ExecutionException ? failure.getCause() : failure;
            System.out.println("FAILED " + name + ": " + cause);
            cause.printStackTrace(System.out);
            System.out.flush();
            Runtime.getRuntime().halt(1);
        }
        System.out.println("ok " + name + " (" + (System.nanoTime() - begin) / 1_000_000 + " ms)");
    }

    /** So many threads of each client play the part at the same time, numbered through. */
    private void together(int ofEach, Part part) throws Exception {
        List<Callable<Void>> parts = new ArrayList<>();
        for (int number = 0; number < ofEach * CLIENTS; number++) {
            int own = number;
            parts.add(() -> {
                part.play(clients.get(own % CLIENTS), own);
                return null;
            });
        }
        for (Future<Void> each : threads.invokeAll(parts, 2 * PATIENCE, TimeUnit.SECONDS)) {
            each.get();
        }
    }

    private static void ensure(boolean holds, String otherwise) {
        if (!holds) {
            throw new Failure(otherwise);
        }
    }

    private static void equal(Object expected, Object found, String what) {
        ensure(expected == null ? found == null : expected.equals(found), what + ": " + found + " and not " + expected);
    }

    private static <T> T until(String what, Callable<T> look) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        while (System.nanoTime() < end) {
            T found = look.call();
            if (found != null) {
                return found;
            }
            Thread.sleep(2);
        }
        throw new Failure("waited in vain for " + what);
    }

    private static void untilEqual(Object expected, Callable<?> look) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        Object found = look.call();
        while (expected == null ? found != null : !expected.equals(found)) {
            if (System.nanoTime() > end) {
                throw new Failure("it stays " + found + " and does not become " + expected);
            }
            Thread.sleep(2);
            found = look.call();
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] data) {
        return new String(data, StandardCharsets.UTF_8);
    }

    private static CuratorFramework connect(String address) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(address)
                .sessionTimeoutMs(SESSION).connectionTimeoutMs(SESSION).retryPolicy(new RetryNTimes(1_000, 20))
                .defaultData(new byte[0]).build();
        client.start();
        ensure(client.blockUntilConnected((int) PATIENCE, TimeUnit.SECONDS), "no connection");
        return client;
    }
}
