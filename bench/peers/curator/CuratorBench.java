import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.BackgroundCallback;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.CreateMode;

/**
 * Measures Curator: {@code CuratorBench SCENARIO --connect HOST:PORT [key=value ...]}.
 *
 * <p>The scenarios are described in bench/README.md. Each is run at a smaller size first, for the
 * JIT compiler; the processor time is still that of the whole JVM, its compiler and collector
 * threads included.
 */
public final class CuratorBench {
    private static final Set<String> KEYS =
            Set.of("n", "window", "c", "waiters", "sessions", "warmup", "p", "rounds", "size",
                    "consumers", "permits", "readers", "limit");
    private static final String USAGE = "usage: SCENARIO --connect HOST:PORT [key=value ...]";
    private static final int MOST_WAITERS = 800; // a thread each

    private final String scenario;
    private String server;
    private final Map<String, Integer> settings = new HashMap<>();

    private CuratorBench(String[] args) {
        if (args.length < 3) {
            throw new IllegalArgumentException(USAGE);
        }
        scenario = args[0];
        for (int i = 1; i < args.length; i++) {
            String[] setting = args[i].split("=");
            if (args[i].equals("--connect") && i + 1 < args.length) {
                server = args[++i];
            } else if (setting.length == 2 && KEYS.contains(setting[0])) {
                settings.put(setting[0], Integer.valueOf(setting[1]));
            } else {
                throw new IllegalArgumentException(args[i] + "? " + USAGE);
            }
        }
    }

    public static void main(String[] args) {
        CuratorBench bench = new CuratorBench(args);
        try {
            System.out.println(bench.run().toJson(bench.scenario));
            System.exit(0); // Curator's threads are not all daemons
        } catch (Exception failure) {
            failure.printStackTrace();
            bench.fail(failure.toString());
        }
    }

    /** Ends the process, whatever its threads wait for. */
    void fail(String why) {
        System.err.println(why);
        Runtime.getRuntime().halt(1);
    }

    int get(String key, int otherwise) {
        return settings.getOrDefault(key, otherwise);
    }

    private Report run() throws Exception {
        switch (scenario) {
            case "waiters" -> {
                int waiters = get("waiters", MOST_WAITERS);
                if (waiters > MOST_WAITERS) {
                    throw new IllegalArgumentException("at most " + MOST_WAITERS + " waiters");
                }
                waiters(Math.min(waiters, get("warmup", 200)));
                return waiters(waiters);
            }
            case "contend" -> {
                return contend(get("warmup", 500), get("n", 3_000));
            }
            case "latch", "barrier", "semaphore", "rwlock" -> {
                return new Recipes(this).run(scenario);
            }
            case "queue", "queue_simple", "queue_ack" -> {
                return new Queues(this).run(scenario);
            }
            default -> {
                try (CuratorFramework client = connect()) {
                    return runAlone(client);
                }
            }
        }
    }

    private Report runAlone(CuratorFramework client) throws Exception {
        String root = createRoot(client);
        switch (scenario) {
            case "get1" -> {
                get1(client, root, get("warmup", 100_000));
                return get1(client, root, get("n", 20_000));
            }
            case "get" -> {
                get(client, root, get("warmup", 100_000));
                return get(client, root, get("n", 400_000));
            }
            case "create_delete" -> {
                createDelete(client, root, get("warmup", 10_000));
                return createDelete(client, root, get("n", 40_000));
            }
            case "lock_awaited" -> {
                lock(client, root, get("warmup", 500));
                return lock(client, root, get("n", 3_000));
            }
            case "acquire_idle" -> {
                lock(client, root, get("warmup", 500));
                return acquireIdle(client, root, get("n", 600));
            }
            default -> throw new IllegalArgumentException("no such scenario: " + scenario);
        }
    }

    CuratorFramework connect() {
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                server, 30_000, 15_000, new ExponentialBackoffRetry(100, 5));
        client.start();
        return client;
    }

    /** A fresh node with 100 bytes: what is read, or the parent of what is created and locked. */
    static String createRoot(CuratorFramework client) throws Exception {
        byte[] data = "x".repeat(100).getBytes(StandardCharsets.US_ASCII);
        return client.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/bench-", data);
    }

    private static Report get1(CuratorFramework client, String path, int n) throws Exception {
        long[] latencies = new long[n];
        Stopwatch watch = new Stopwatch();
        for (int i = 0; i < n; i++) {
            long sent = System.nanoTime();
            client.getData().forPath(path);
            latencies[i] = System.nanoTime() - sent;
        }
        return watch.stop(n, latencies);
    }

    private Report get(CuratorFramework client, String path, int n) throws Exception {
        Window window = new Window(get("window", 256));
        Stopwatch watch = new Stopwatch();
        for (int i = 0; i < n; i++) {
            window.enter();
            client.getData().inBackground(window.leave).forPath(path);
        }
        window.drain();
        return watch.stop(n, null);
    }

    private Report createDelete(CuratorFramework client, String root, int n) throws Exception {
        Window window = new Window(get("window", 128));
        Stopwatch watch = new Stopwatch();
        for (int i = 0; i < n; i++) {
            window.enter();
            String path = root + "/" + i;
            client.create().inBackground(window.check).forPath(path, new byte[0]);
            client.delete().inBackground(window.leave).forPath(path);
        }
        window.drain();
        return watch.stop(2 * n, null);
    }

    private static Report lock(CuratorFramework client, String root, int n) throws Exception {
        InterProcessMutex mutex = new InterProcessMutex(client, root);
        long[] latencies = new long[n];
        Stopwatch watch = new Stopwatch();
        for (int i = 0; i < n; i++) {
            long began = System.nanoTime();
            mutex.acquire();
            mutex.release();
            latencies[i] = System.nanoTime() - began;
        }
        return watch.stop(n, latencies);
    }

    private static Report acquireIdle(CuratorFramework client, String root, int n)
            throws Exception {
        InterProcessMutex mutex = new InterProcessMutex(client, root);
        long[] latencies = new long[n];
        Stopwatch watch = new Stopwatch();
        for (int i = 0; i < n; i++) {
            long began = System.nanoTime();
            mutex.acquire();
            latencies[i] = System.nanoTime() - began;
            mutex.release();
            LockSupport.parkNanos(began + 2_000_000 - System.nanoTime()); // sleep rounds to 1 ms
        }
        return watch.stop(n, latencies);
    }

    private Report contend(int warmup, int n) throws Exception {
        Baton baton = new Baton(warmup, n);
        List<CuratorFramework> sessions = connect(get("c", 8));
        String root = createRoot(sessions.get(0));
        List<Callable<Void>> contenders = new ArrayList<>();
        for (CuratorFramework session : sessions) {
            contenders.add(() -> {
                InterProcessMutex mutex = new InterProcessMutex(session, root);
                do {
                    mutex.acquire();
                } while (baton.pass(mutex));
                return null;
            });
        }
        finish(start(contenders));
        close(sessions);
        return baton.report;
    }

    private Report waiters(int n) throws Exception {
        Baton baton = new Baton(0, n);
        List<CuratorFramework> sessions = connect(get("sessions", 4));
        CuratorFramework control = connect();
        String root = createRoot(control);
        InterProcessMutex held = new InterProcessMutex(control, root);
        held.acquire();
        long bytesBefore = bytes();

        Stopwatch watch = new Stopwatch();
        List<Callable<Void>> waiters = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            InterProcessMutex mutex =
                    new InterProcessMutex(sessions.get(i % sessions.size()), root);
            waiters.add(() -> {
                mutex.acquire();
                baton.pass(mutex);
                return null;
            });
        }
        List<Future<Void>> queued = start(waiters);
        while (control.checkExists().forPath(root).getNumChildren() <= n) {
            Thread.sleep(10); // seldom enough to weigh nothing in the bytes and the time
        }
        Report enqueued = watch.stop(n, null);
        baton.pass(held);
        finish(queued);
        long bytesAfter = bytes();

        Report drained = baton.report;
        drained.more = String.format(
                Locale.ROOT,
                ",\"enqueue_s\":%.6f,\"drain_s\":%.6f,\"bytes_per_waiter\":%s",
                enqueued.secs,
                drained.secs,
                bytesBefore < 0 ? "null" : decimal((bytesAfter - bytesBefore) / (double) n));
        drained.secs += enqueued.secs;
        drained.cpu += enqueued.cpu;
        sessions.add(control);
        close(sessions);
        return drained;
    }

    List<CuratorFramework> connect(int sessions) throws InterruptedException {
        List<CuratorFramework> clients = new ArrayList<>();
        for (int i = 0; i < sessions; i++) {
            CuratorFramework client = connect();
            client.blockUntilConnected();
            clients.add(client);
        }
        return clients;
    }

    static void close(List<CuratorFramework> sessions) {
        sessions.forEach(CuratorFramework::close);
    }

    /** A thread for each: Curator's locks belong to threads. */
    static List<Future<Void>> start(List<Callable<Void>> tasks) {
        ExecutorService threads = Executors.newFixedThreadPool(tasks.size(), task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true); // or those still in line keep the JVM up after one has failed
            return thread;
        });
        List<Future<Void>> started = new ArrayList<>();
        tasks.forEach(task -> started.add(threads.submit(task)));
        threads.shutdown();
        return started;
    }

    static void finish(List<Future<Void>> tasks) throws Exception {
        for (Future<Void> task : tasks) {
            task.get();
        }
    }

    /**
     * Bytes that this process' connections to the server have carried, both ways, as the kernel
     * counts them; -1 without {@code ss} (of iproute2).
     */
    private long bytes() throws IOException {
        Process ss;
        try {
            ss = new ProcessBuilder("ss", "--tcp", "--info", "--numeric", "--processes",
                    "--no-header", "--oneline", "dst", server).start();
        } catch (IOException absent) {
            return -1;
        }
        String own = "pid=" + ProcessHandle.current().pid() + ",";
        Pattern count = Pattern.compile(" bytes_(?:sent|received):(\\d+)");
        long bytes = 0;
        for (String line : new String(ss.getInputStream().readAllBytes()).split("\n")) {
            Matcher matcher = count.matcher(line);
            while (line.contains(own) && matcher.find()) {
                bytes += Long.parseLong(matcher.group(1));
            }
        }
        return bytes;
    }

    static String decimal(double value) {
        return String.format(Locale.ROOT, "%.1f", value);
    }

    /** Keeps a fixed number of background operations in flight. */
    private static final class Window {
        private final int size;
        private final Semaphore room;
        private final AtomicInteger failures = new AtomicInteger();

        final BackgroundCallback check = (client, event) -> {
            if (event.getResultCode() != 0) {
                failures.incrementAndGet();
            }
        };
        final BackgroundCallback leave;

        Window(int size) {
            this.size = size;
            room = new Semaphore(size);
            leave = (client, event) -> {
                check.processResult(client, event);
                room.release();
            };
        }

        void enter() throws InterruptedException {
            room.acquire();
        }

        void drain() throws InterruptedException {
            room.acquire(size);
            if (failures.get() > 0) {
                throw new IllegalStateException(failures + " operations failed");
            }
        }
    }

    /**
     * Times the hand-overs of one lock, from just before a release to the next grant. The first
     * {@code warmup} ones are not counted.
     */
    private static final class Baton {
        private final int warmup;
        private final long[] latencies;
        private int granted;
        private long released;
        private Stopwatch watch;
        private volatile Report report;

        Baton(int warmup, int wanted) {
            this.warmup = warmup;
            this.latencies = new long[wanted];
        }

        /** To be called by the holder: notes the grant and releases. True if more are wanted. */
        boolean pass(InterProcessMutex mutex) throws Exception {
            boolean wanted = grant();
            mutex.release();
            return wanted;
        }

        private synchronized boolean grant() {
            long now = System.nanoTime();
            if (granted == warmup) {
                watch = new Stopwatch();
            } else if (granted > warmup && report == null) {
                int counted = granted - warmup;
                latencies[counted - 1] = now - released;
                if (counted == latencies.length) {
                    report = watch.stop(counted, latencies);
                }
            }
            granted++;
            released = System.nanoTime();
            return report == null;
        }
    }

    /** Measures a phase on the wall clock and on the clock of the JVM's processor time. */
    static final class Stopwatch {
        private static final OperatingSystemMXBean SYSTEM =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

        private final long cpu = SYSTEM.getProcessCpuTime();
        private final long started = System.nanoTime();

        Report stop(int ops, long[] latencies) {
            double secs = (System.nanoTime() - started) / 1e9;
            double cpu = (SYSTEM.getProcessCpuTime() - this.cpu) / 1e9;
            return new Report(ops, secs, cpu, latencies);
        }
    }

    static final class Report {
        final int ops;
        final double perSecond;
        private final long[] latencies; // null where the time of one operation says nothing
        double secs;
        double cpu;
        String more = "";

        Report(int ops, double secs, double cpu, long[] latencies) {
            this.ops = ops;
            this.secs = secs;
            this.perSecond = ops / secs;
            this.cpu = cpu;
            this.latencies = latencies;
        }

        String toJson(String scenario) {
            return String.format(
                    Locale.ROOT,
                    "{\"peer\":\"curator\",\"scenario\":\"%s\",\"ops\":%d,\"secs\":%.6f,"
                            + "\"per_s\":%.1f,\"p50_us\":%s,\"p99_us\":%s,\"cpu_s\":%.6f%s}",
                    scenario, ops, secs, perSecond, percentile(50), percentile(99), cpu, more);
        }

        String percentile(int percent) {
            if (latencies == null) {
                return "null";
            }
            long[] sorted = latencies.clone();
            Arrays.sort(sorted);
            return decimal(sorted[sorted.length * percent / 100] / 1e3);
        }
    }
}
