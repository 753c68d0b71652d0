import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicNumber;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.leader.Participant;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;

/**
 * Curator as a party that others contend with: {@code CuratorPeer HOST:PORT}. kazoo_peer.py is the
 * same with kazoo.
 *
 * <p>Each line on stdin is {@code NUMBER COMMAND}, and is answered on stdout by {@code NUMBER ANSWER}
 * when the command is done, so that one that waits holds up no other. A number is anything that tells
 * the answers apart. "quit", or the end of stdin, ends the session and the process.
 *
 * <p>Answers are "ok", or what was asked for; "no" where it was not to be had (in time); "none" where
 * there is nothing; "violation ..." from a loop that met somebody whom it should not have met; and
 * "error ..." with the exception. Times are in milliseconds. BYTES are hexadecimal, and "-" is no
 * byte at all, or no text.
 *
 * <pre>
 * Locks. A lock belongs to a thread: the commands on one NAME, of whatever kind, are carried out in
 * order by a thread of its own. They are about the PATH (and MAX) that came with the first of them.
 * Write and read of one NAME are one lock, so that a writer may acquire read as well, and downgrades
 * by releasing write (not in kazoo).
 *   mutex|write|read acquire NAME PATH
 *   mutex|write|read try NAME PATH TIME
 *   mutex|write|read release NAME
 *   semaphore acquire NAME PATH MAX              InterProcessSemaphoreV2; Curator alone
 *   semaphore try NAME PATH MAX TIME
 *   semaphore release NAME                       the lease that was acquired last
 *   double enter NAME PATH COUNT                 DistributedDoubleBarrier
 *   double leave NAME
 * Everything else is carried out at once.
 *
 * Full speed: ROUNDS times acquire, visit PLACE, release. The answer is "ok COMPANY", the number of
 * rounds in which somebody else was inside as well.
 *   loop mutex|write|read PATH ROUNDS PLACE
 *   loop semaphore PATH MAX ROUNDS PLACE
 * And one thing after the other, answered by "ok":
 *   loop sharedcount|atomiclong|atomicint PATH ROUNDS    adds one each time
 *
 * Elections: "latch" is LeaderLatch, "selector" is LeaderSelector (kazoo: "election").
 *   latch|selector start NAME PATH ID
 *   latch|selector await NAME                    until it leads
 *   latch|selector leads NAME                    "yes" or "no"
 *   latch|selector leader NAME                   the leader's id; "latch" and "selector" alone
 *   latch|selector participants NAME             their ids in order, a star before the leader's
 *   selector yield NAME                          leads no longer, and is back in line
 *   latch|selector close NAME
 *
 * Values. A count starts at 0 and a value with no bytes, which is written where there is no node.
 *   sharedcount get PATH | set PATH NUMBER | tryset PATH NUMBER
 *   sharedvalue get PATH | set PATH BYTES | tryset PATH BYTES
 *   atomiclong|atomicint get PATH | increment PATH | add PATH NUMBER | set PATH NUMBER
 *   atomiclong|atomicint cas PATH EXPECTED NUMBER | initialize PATH NUMBER
 *
 * Barriers.
 *   barrier set PATH | remove PATH | wait PATH [TIME]
 *
 * Queues: "queue" is DistributedQueue. It takes whatever there is, and "take" answers with the next
 * COUNT items, waiting for them.
 *   queue put PATH BYTES
 *   queue take PATH COUNT
 *   simplequeue offer PATH BYTES | poll PATH [TIME]
 * </pre>
 *
 * A place is a node, which has to exist, with the text "VISITS TURNS WHO" as its data, and below it an
 * ephemeral node for everybody inside: "alone-..." or "shared-...". Who visits it makes its own, looks
 * who else is there, reads the data twice if it shares (nobody may have written), adds its visit if
 * it is alone (reading and writing, so that a visit is lost if anybody else is there), and deletes its
 * node. A turn is a visit by somebody else than before.
 */
public final class CuratorPeer {
    private static final int SESSION = 40_000; // so long that no slow machine ends it
    private static final HexFormat HEX = HexFormat.of();

    private final CuratorFramework client;
    private final String who = "curator-" + ProcessHandle.current().pid();
    private final Map<String, ExecutorService> threads = new ConcurrentHashMap<>();
    private final ExecutorService others = Executors.newCachedThreadPool(daemons());

    private final Map<String, InterProcessMutex> mutexes = new ConcurrentHashMap<>();
    private final Map<String, InterProcessReadWriteLock> readWriteLocks = new ConcurrentHashMap<>();
    private final Map<String, InterProcessSemaphoreV2> semaphores = new ConcurrentHashMap<>();
    private final Map<String, List<Lease>> leases = new ConcurrentHashMap<>();
    private final Map<String, DistributedDoubleBarrier> doubleBarriers = new ConcurrentHashMap<>();
    private final Map<String, LeaderLatch> latches = new ConcurrentHashMap<>();
    private final Map<String, Candidate> candidates = new ConcurrentHashMap<>();
    private final Map<String, SharedCount> counts = new ConcurrentHashMap<>();
    private final Map<String, SharedValue> values = new ConcurrentHashMap<>();
    private final Map<String, DistributedQueue<byte[]>> producers = new ConcurrentHashMap<>();
    private final Map<String, Consumer> consumers = new ConcurrentHashMap<>();

    private CuratorPeer(CuratorFramework client) {
        this.client = client;
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                args[0], SESSION, SESSION, new ExponentialBackoffRetry(100, 10));
        client.start();
        new CuratorPeer(client).serve();
        client.close();
        System.exit(0);
    }

    private static ThreadFactory daemons() {
        return task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        };
    }

    private void serve() throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            String number = words[0];
            String[] command = Arrays.copyOfRange(words, 1, words.length);
            if (command[0].equals("quit")) {
                System.out.println(number + " ok");
                return;
            }
            ExecutorService thread = switch (command[0]) {
                case "mutex", "write", "read", "semaphore", "double" -> threads.computeIfAbsent(
                        command[2], name -> Executors.newSingleThreadExecutor(daemons()));
                default -> others;
            };
            // One print each, so that lines of several threads keep whole.
            thread.execute(() -> System.out.println(number + " " + answer(command)));
        }
    }

    private String answer(String[] command) {
        try {
            return switch (command[0]) {
                case "mutex", "write", "read" -> lock(command);
                case "semaphore" -> semaphore(command);
                case "double" -> doubleBarrier(command);
                case "loop" -> loop(command);
                case "latch" -> latch(command);
                case "selector" -> selector(command);
                case "sharedcount" -> sharedCount(command);
                case "sharedvalue" -> sharedValue(command);
                case "atomiclong" -> number(atomicLong(command[2]), Long::valueOf, command);
                case "atomicint" -> number(atomicInteger(command[2]), Integer::valueOf, command);
                case "barrier" -> barrier(command);
                case "queue" -> queue(command);
                case "simplequeue" -> simpleQueue(command);
                default -> throw unknown(command);
            };
        } catch (Violation violation) {
            return "violation " + violation.getMessage();
        } catch (Throwable error) {
            return "error " + error.toString().replace('\n', ' ');
        }
    }

    private static IllegalArgumentException unknown(String[] command) {
        return new IllegalArgumentException("no such command: " + String.join(" ", command));
    }

    private static String got(boolean yes) {
        return yes ? "ok" : "no";
    }

    private static byte[] bytes(String word) {
        return word.equals("-") ? new byte[0] : HEX.parseHex(word);
    }

    private static String word(byte[] bytes) {
        return bytes == null ? "none" : bytes.length == 0 ? "-" : HEX.formatHex(bytes);
    }

    // Locks.

    private String lock(String[] command) throws Exception {
        String name = command[2];
        if (command[1].equals("release")) {
            lock(command[0], name, null).release();
            return "ok";
        }
        InterProcessLock lock = lock(command[0], name, command[3]);
        switch (command[1]) {
            case "acquire" -> lock.acquire();
            case "try" -> {
                return got(lock.acquire(Long.parseLong(command[4]), TimeUnit.MILLISECONDS));
            }
            default -> throw unknown(command);
        }
        return "ok";
    }

    private InterProcessLock lock(String kind, String name, String path) {
        if (kind.equals("mutex")) {
            return mutexes.computeIfAbsent(name, key -> new InterProcessMutex(client, path));
        }
        InterProcessReadWriteLock lock =
                readWriteLocks.computeIfAbsent(name, key -> new InterProcessReadWriteLock(client, path));
        return kind.equals("write") ? lock.writeLock() : lock.readLock();
    }

    private String semaphore(String[] command) throws Exception {
        String name = command[2];
        List<Lease> held = leases.computeIfAbsent(name, key -> new ArrayList<>());
        if (command[1].equals("release")) {
            semaphores.get(name).returnLease(held.remove(held.size() - 1));
            return "ok";
        }
        InterProcessSemaphoreV2 semaphore = semaphores.computeIfAbsent(
                name, key -> new InterProcessSemaphoreV2(client, command[3], Integer.parseInt(command[4])));
        Lease lease = switch (command[1]) {
            case "acquire" -> semaphore.acquire();
            case "try" -> semaphore.acquire(Long.parseLong(command[5]), TimeUnit.MILLISECONDS);
            default -> throw unknown(command);
        };
        if (lease != null) {
            held.add(lease);
        }
        return got(lease != null);
    }

    private String doubleBarrier(String[] command) throws Exception {
        switch (command[1]) {
            case "enter" -> doubleBarriers
                    .computeIfAbsent(command[2], name -> new DistributedDoubleBarrier(
                            client, command[3], Integer.parseInt(command[4])))
                    .enter();
            case "leave" -> doubleBarriers.remove(command[2]).leave();
            default -> throw unknown(command);
        }
        return "ok";
    }

    // Full speed.

    private String loop(String[] command) throws Exception {
        String path = command[2];
        return switch (command[1]) {
            case "mutex" -> visits(new InterProcessMutex(client, path), true, command);
            case "write" -> visits(new InterProcessReadWriteLock(client, path).writeLock(), true, command);
            case "read" -> visits(new InterProcessReadWriteLock(client, path).readLock(), false, command);
            case "semaphore" -> permits(command);
            case "sharedcount" -> additions(command, () -> {
                SharedCount count = count(path);
                return count.trySetCount(count.getVersionedValue(), count.getCount() + 1);
            });
            case "atomiclong" -> additions(command, () -> atomicLong(path).increment().succeeded());
            case "atomicint" -> additions(command, () -> atomicInteger(path).increment().succeeded());
            default -> throw unknown(command);
        };
    }

    private String visits(InterProcessLock lock, boolean alone, String[] command) throws Exception {
        int company = 0;
        for (int round = 0; round < Integer.parseInt(command[3]); round++) {
            lock.acquire();
            try {
                company += visit(command[4], alone, Integer.MAX_VALUE);
            } finally {
                lock.release();
            }
        }
        return "ok " + company;
    }

    private String permits(String[] command) throws Exception {
        int max = Integer.parseInt(command[3]);
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, command[2], max);
        int company = 0;
        for (int round = 0; round < Integer.parseInt(command[4]); round++) {
            Lease lease = semaphore.acquire();
            try {
                company += visit(command[5], false, max);
            } finally {
                semaphore.returnLease(lease);
            }
        }
        return "ok " + company;
    }

    private interface Attempt {
        boolean succeeds() throws Exception;
    }

    private String additions(String[] command, Attempt attempt) throws Exception {
        for (int round = 0; round < Integer.parseInt(command[3]); round++) {
            while (!attempt.succeeds()) {
                // Others were first: again.
                Thread.onSpinWait();
            }
        }
        return "ok";
    }

    private static final class Violation extends Exception {
        Violation(String message) {
            super(message);
        }
    }

    /** One visit; 1 if somebody else was inside. */
    private int visit(String place, boolean alone, int max) throws Exception {
        String kind = alone ? "/alone-" : "/shared-";
        String own = client.create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(place + kind);
        try {
            List<String> inside = client.getChildren().forPath(place);
            boolean intruded = inside.stream().anyMatch(name -> name.startsWith("alone-"));
            if (alone ? inside.size() > 1 : intruded || inside.size() > max) {
                throw new Violation(own + " among " + inside);
            }
            String before = read(place);
            if (alone) {
                String[] tally = before.split(" ");
                long turns = Long.parseLong(tally[1]) + (tally[2].equals(who) ? 0 : 1);
                String after = (Long.parseLong(tally[0]) + 1) + " " + turns + " " + who;
                client.setData().forPath(place, after.getBytes(StandardCharsets.UTF_8));
            } else {
                String after = read(place);
                if (!before.equals(after)) {
                    throw new Violation(own + " read " + before + " and then " + after);
                }
            }
            return inside.size() > 1 ? 1 : 0;
        } finally {
            client.delete().forPath(own);
        }
    }

    private String read(String place) throws Exception {
        return new String(client.getData().forPath(place), StandardCharsets.UTF_8);
    }

    // Elections.

    private String latch(String[] command) throws Exception {
        if (command[1].equals("start")) {
            LeaderLatch latch = new LeaderLatch(client, command[3], command[4]);
            latch.start();
            latches.put(command[2], latch);
            return "ok";
        }
        LeaderLatch latch = latches.get(command[2]);
        return switch (command[1]) {
            case "await" -> {
                latch.await();
                yield "ok";
            }
            case "leads" -> latch.hasLeadership() ? "yes" : "no";
            case "leader" -> id(latch.getLeader());
            case "participants" -> ids(latch.getParticipants());
            case "close" -> {
                latch.close();
                yield "ok";
            }
            default -> throw unknown(command);
        };
    }

    private String selector(String[] command) throws Exception {
        if (command[1].equals("start")) {
            candidates.put(command[2], new Candidate(command[3], command[4]));
            return "ok";
        }
        Candidate candidate = candidates.get(command[2]);
        return switch (command[1]) {
            case "await" -> {
                candidate.awaitLeadership();
                yield "ok";
            }
            case "leads" -> candidate.leads ? "yes" : "no";
            case "leader" -> id(candidate.selector.getLeader());
            case "participants" -> ids(candidate.selector.getParticipants());
            case "yield" -> {
                candidate.yields.release();
                yield "ok";
            }
            case "close" -> {
                candidate.selector.close();
                yield "ok";
            }
            default -> throw unknown(command);
        };
    }

    /** The id's first line: herdless has a second, the attempt's number. */
    private static String id(Participant participant) {
        String id = participant.getId().lines().findFirst().orElse("");
        return id.isEmpty() ? "-" : id;
    }

    private static String ids(Collection<Participant> participants) {
        List<String> ids = new ArrayList<>();
        for (Participant participant : participants) {
            ids.add((participant.isLeader() ? "*" : "") + id(participant));
        }
        return ids.isEmpty() ? "none" : String.join(" ", ids);
    }

    /** Leads until it is told to yield. */
    private final class Candidate extends LeaderSelectorListenerAdapter {
        final LeaderSelector selector;
        final Semaphore yields = new Semaphore(0);
        volatile boolean leads;

        Candidate(String path, String id) {
            selector = new LeaderSelector(client, path, this);
            selector.setId(id);
            selector.autoRequeue();
            selector.start();
        }

        @Override
        public void takeLeadership(CuratorFramework client) throws Exception {
            setLeads(true);
            try {
                yields.acquire();
            } finally {
                setLeads(false);
            }
        }

        private synchronized void setLeads(boolean now) {
            leads = now;
            notifyAll();
        }

        synchronized void awaitLeadership() throws InterruptedException {
            while (!leads) {
                wait();
            }
        }
    }

    // Values.

    private SharedCount count(String path) {
        return counts.computeIfAbsent(path, key -> started(new SharedCount(client, path, 0)));
    }

    private static SharedCount started(SharedCount count) {
        try {
            count.start();
            return count;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private String sharedCount(String[] command) throws Exception {
        SharedCount count = count(command[2]);
        return switch (command[1]) {
            case "get" -> Integer.toString(count.getCount());
            case "set" -> {
                count.setCount(Integer.parseInt(command[3]));
                yield "ok";
            }
            case "tryset" -> got(count.trySetCount(count.getVersionedValue(), Integer.parseInt(command[3])));
            default -> throw unknown(command);
        };
    }

    private SharedValue value(String path) {
        return values.computeIfAbsent(path, key -> started(new SharedValue(client, path, new byte[0])));
    }

    private static SharedValue started(SharedValue value) {
        try {
            value.start();
            return value;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private String sharedValue(String[] command) throws Exception {
        SharedValue value = value(command[2]);
        return switch (command[1]) {
            case "get" -> word(value.getValue());
            case "set" -> {
                value.setValue(bytes(command[3]));
                yield "ok";
            }
            case "tryset" -> got(value.trySetValue(value.getVersionedValue(), bytes(command[3])));
            default -> throw unknown(command);
        };
    }

    private DistributedAtomicLong atomicLong(String path) {
        return new DistributedAtomicLong(client, path, new RetryNTimes(10, 1));
    }

    private DistributedAtomicInteger atomicInteger(String path) {
        return new DistributedAtomicInteger(client, path, new RetryNTimes(10, 1));
    }

    private static <T> String number(DistributedAtomicNumber<T> number, Function<String, T> parse, String[] command)
            throws Exception {
        return switch (command[1]) {
            case "get" -> after(number.get());
            case "increment" -> after(number.increment());
            case "add" -> after(number.add(parse.apply(command[3])));
            case "set" -> {
                number.forceSet(parse.apply(command[3]));
                yield "ok";
            }
            case "cas" -> got(number.compareAndSet(parse.apply(command[3]), parse.apply(command[4])).succeeded());
            case "initialize" -> got(number.initialize(parse.apply(command[3])));
            default -> throw unknown(command);
        };
    }

    private static String after(AtomicValue<?> value) {
        return value.succeeded() ? value.postValue().toString() : "no";
    }

    // Barriers.

    private String barrier(String[] command) throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(client, command[2]);
        switch (command[1]) {
            case "set" -> barrier.setBarrier();
            case "remove" -> barrier.removeBarrier();
            case "wait" -> {
                if (command.length > 3) {
                    return got(barrier.waitOnBarrier(Long.parseLong(command[3]), TimeUnit.MILLISECONDS));
                }
                barrier.waitOnBarrier();
            }
            default -> throw unknown(command);
        }
        return "ok";
    }

    // Queues.

    private static final QueueSerializer<byte[]> AS_IT_IS = new QueueSerializer<>() {
        @Override
        public byte[] serialize(byte[] item) {
            return item;
        }

        @Override
        public byte[] deserialize(byte[] bytes) {
            return bytes;
        }
    };

    private String queue(String[] command) throws Exception {
        String path = command[2];
        switch (command[1]) {
            case "put" -> {
                DistributedQueue<byte[]> producer = producers.computeIfAbsent(path, key -> queue(null, path));
                producer.put(bytes(command[3]));
                if (!producer.flushPuts(SESSION, TimeUnit.MILLISECONDS)) {
                    throw new IllegalStateException("not put");
                }
                return "ok";
            }
            case "take" -> {
                Consumer consumer = consumers.computeIfAbsent(path, key -> {
                    Consumer made = new Consumer();
                    queue(made, path);
                    return made;
                });
                List<String> taken = new ArrayList<>();
                while (taken.size() < Integer.parseInt(command[3])) {
                    taken.add(word(consumer.items.take()));
                }
                return String.join(" ", taken);
            }
            default -> throw unknown(command);
        }
    }

    private DistributedQueue<byte[]> queue(Consumer consumer, String path) {
        DistributedQueue<byte[]> queue = QueueBuilder.builder(client, consumer, AS_IT_IS, path).buildQueue();
        try {
            queue.start();
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
        return queue;
    }

    private static final class Consumer implements QueueConsumer<byte[]> {
        final BlockingQueue<byte[]> items = new LinkedBlockingQueue<>();

        @Override
        public void consumeMessage(byte[] item) {
            items.add(item);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    private String simpleQueue(String[] command) throws Exception {
        SimpleDistributedQueue queue = new SimpleDistributedQueue(client, command[2]);
        return switch (command[1]) {
            case "offer" -> got(queue.offer(bytes(command[3])));
            case "poll" -> word(
                    command.length > 3
                            ? queue.poll(Long.parseLong(command[3]), TimeUnit.MILLISECONDS)
                            : queue.poll());
            default -> throw unknown(command);
        };
    }
}
