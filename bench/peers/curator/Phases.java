import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.state.ConnectionState;

/** What the scenarios are made of: sessions, and phases that end, or are ended. */
class Phases {
    final CuratorBench bench;
    final AtomicInteger done = new AtomicInteger(); // in this phase
    private final AtomicInteger disconnections = new AtomicInteger();

    Phases(CuratorBench bench) {
        this.bench = bench;
    }

    List<CuratorFramework> connect(int count) throws InterruptedException {
        List<CuratorFramework> sessions = bench.connect(count);
        for (CuratorFramework session : sessions) {
            session.getConnectionStateListenable().addListener((client, state) -> {
                if (state == ConnectionState.SUSPENDED) {
                    disconnections.incrementAndGet();
                }
            });
        }
        return sessions;
    }

    static void awaitChildren(CuratorFramework session, String root, int wanted)
            throws Exception {
        while (session.checkExists().forPath(root).getNumChildren() != wanted) {
            Thread.sleep(10); // seldom enough to weigh nothing in the time
        }
    }

    Limit limit(String what, int wanted) {
        return limit(what, wanted, 120);
    }

    Limit limit(String what, int wanted, int seconds) {
        done.set(0);
        return new Limit(what, wanted, bench.get("limit", seconds));
    }

    /** Ends the process if a phase does not end: some recipes can wait, or retry, for ever. */
    final class Limit {
        private final CountDownLatch lifted = new CountDownLatch(1);

        Limit(String what, int wanted, int seconds) {
            Thread thread = new Thread(() -> {
                try {
                    if (!lifted.await(seconds, TimeUnit.SECONDS)) {
                        bench.fail(String.format(
                                "stopped after %d s, with %d of %d %s and %d disconnections",
                                seconds, done.get(), wanted, what, disconnections.get()));
                    }
                } catch (InterruptedException end) {
                    Thread.currentThread().interrupt();
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        void lift() {
            lifted.countDown();
        }
    }
}
