import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.MultiItem;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueuePutListener;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** Queues: of each item it is counted how often it arrives. */
final class Queues extends Phases {
    Queues(CuratorBench bench) {
        super(bench);
    }

    CuratorBench.Report run(String scenario) throws Exception {
        int n = bench.get("n", scenario.equals("queue_ack") ? 2_000 : 3_000);
        switch (scenario) {
            case "queue" -> {
                queue(bench.get("warmup", 1_000));
                return queue(n);
            }
            case "queue_simple" -> {
                queueSimple(bench.get("warmup", 500));
                return queueSimple(n);
            }
            case "queue_ack" -> {
                queueAck(bench.get("warmup", 500));
                return queueAck(n);
            }
            default -> throw new IllegalArgumentException("no such scenario: " + scenario);
        }
    }

    /** Puts in the background, flushed at the end; the consumer lists the children in batches. */
    private CuratorBench.Report queue(int n) throws Exception {
        List<CuratorFramework> sessions = connect(2);
        String root = CuratorBench.createRoot(sessions.get(0));
        CuratorBench.Report put = put(sessions.get(0), root, n);

        Tally tally = new Tally(n);
        Limit limit = limit("takes", n);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        DistributedQueue<byte[]> consumer =
                QueueBuilder.builder(sessions.get(1), tally, BYTES, root).buildQueue();
        consumer.start();
        tally.all.await();
        CuratorBench.Report take = watch.stop(n, null);
        limit.lift();
        consumer.close();
        CuratorBench.close(sessions);
        return tally.report(put, take);
    }

    /** Each put and each take is waited for; each take lists the children. */
    private CuratorBench.Report queueSimple(int n) throws Exception {
        List<CuratorFramework> sessions = connect(2);
        String root = CuratorBench.createRoot(sessions.get(0));
        SimpleDistributedQueue producer = new SimpleDistributedQueue(sessions.get(0), root);
        Limit limit = limit("puts", n);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        for (int i = 0; i < n; i++) {
            producer.offer(item(i));
            done.incrementAndGet();
        }
        CuratorBench.Report put = watch.stop(n, null);
        limit.lift();

        Tally tally = new Tally(n);
        SimpleDistributedQueue consumer = new SimpleDistributedQueue(sessions.get(1), root);
        limit = limit("takes", n);
        watch = new CuratorBench.Stopwatch();
        for (int i = 0; i < n; i++) {
            tally.consumeMessage(consumer.take());
        }
        CuratorBench.Report take = watch.stop(n, null);
        limit.lift();
        CuratorBench.close(sessions);
        return tally.report(put, take);
    }

    private CuratorBench.Report queueAck(int n) throws Exception {
        CuratorFramework control = connect(1).get(0);
        String root = CuratorBench.createRoot(control);
        String locks = CuratorBench.createRoot(control);
        put(control, root, n);

        Tally tally = new Tally(n);
        List<CuratorFramework> sessions = connect(bench.get("consumers", 4));
        List<DistributedQueue<byte[]>> consumers = new ArrayList<>();
        Limit limit = limit("takes", n);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        for (CuratorFramework session : sessions) {
            DistributedQueue<byte[]> consumer =
                    QueueBuilder.builder(session, tally, BYTES, root).lockPath(locks).buildQueue();
            consumer.start();
            consumers.add(consumer);
        }
        awaitChildren(control, root, 0);
        CuratorBench.Report report = watch.stop(n, null);
        limit.lift();
        for (DistributedQueue<byte[]> consumer : consumers) {
            consumer.close();
        }
        sessions.add(control);
        CuratorBench.close(sessions);
        report.more = String.format(
                ",\"lost\":%d,\"duplicated\":%d", tally.lost(), tally.duplicated());
        return report;
    }

    private CuratorBench.Report put(CuratorFramework session, String root, int n)
            throws Exception {
        DistributedQueue<byte[]> producer =
                QueueBuilder.builder(session, null, BYTES, root).buildQueue();
        producer.getPutListenerContainer().addListener(new PutCount());
        producer.start();
        Limit limit = limit("puts", n);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        for (int i = 0; i < n; i++) {
            producer.put(item(i));
        }
        while (!producer.flushPuts(1, TimeUnit.SECONDS)) {}
        CuratorBench.Report put = watch.stop(n, null);
        limit.lift();
        producer.close();
        return put;
    }

    private final class PutCount implements QueuePutListener<byte[]> {
        @Override
        public void putCompleted(byte[] item) {
            done.incrementAndGet();
        }

        @Override
        public void putMultiCompleted(MultiItem<byte[]> items) {}
    }

    private byte[] item(int number) {
        return ByteBuffer.allocate(bench.get("size", 100)).putInt(number).array();
    }

    private static final QueueSerializer<byte[]> BYTES = new QueueSerializer<>() {
        @Override
        public byte[] serialize(byte[] item) {
            return item;
        }

        @Override
        public byte[] deserialize(byte[] bytes) {
            return bytes;
        }
    };

    /** Counts how often each item arrives. */
    private final class Tally implements QueueConsumer<byte[]> {
        final CountDownLatch all;
        private final AtomicIntegerArray arrivals;

        Tally(int n) {
            all = new CountDownLatch(n);
            arrivals = new AtomicIntegerArray(n);
        }

        @Override
        public void consumeMessage(byte[] item) {
            arrivals.incrementAndGet(ByteBuffer.wrap(item).getInt());
            done.incrementAndGet();
            all.countDown();
        }

        @Override
        public void stateChanged(CuratorFramework session, ConnectionState state) {}

        int lost() {
            int lost = 0;
            for (int i = 0; i < arrivals.length(); i++) {
                lost += arrivals.get(i) == 0 ? 1 : 0;
            }
            return lost;
        }

        int duplicated() {
            int duplicated = 0;
            for (int i = 0; i < arrivals.length(); i++) {
                duplicated += arrivals.get(i) > 1 ? 1 : 0;
            }
            return duplicated;
        }

        CuratorBench.Report report(CuratorBench.Report put, CuratorBench.Report take) {
            if (lost() + duplicated() > 0) {
                throw new IllegalStateException(lost() + " lost, " + duplicated() + " duplicated");
            }
            CuratorBench.Report both = new CuratorBench.Report(
                    put.ops, put.secs + take.secs, put.cpu + take.cpu, null);
            both.more = String.format(
                    Locale.ROOT,
                    ",\"put_per_s\":%.1f,\"take_per_s\":%.1f",
                    put.perSecond, take.perSecond);
            return both;
        }
    }
}
