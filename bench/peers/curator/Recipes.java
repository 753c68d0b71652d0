import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

/** Leadership, barriers, permits and shared locks. */
final class Recipes extends Phases {
    Recipes(CuratorBench bench) {
        super(bench);
    }

    CuratorBench.Report run(String scenario) throws Exception {
        int rounds = bench.get("rounds", scenario.equals("latch") ? 50 : 30);
        int readers = bench.get("readers", 1_000);
        switch (scenario) {
            case "latch" -> {
                latch(bench.get("warmup", 200));
                return latch(rounds);
            }
            case "barrier" -> {
                barrier(bench.get("warmup", 20));
                return barrier(rounds);
            }
            case "semaphore" -> {
                semaphore(bench.get("warmup", 50));
                return semaphore(bench.get("n", 100));
            }
            case "rwlock" -> {
                rwlock(Math.min(readers, bench.get("warmup", 200)));
                return rwlock(readers);
            }
            default -> throw new IllegalArgumentException("no such scenario: " + scenario);
        }
    }

    private CuratorBench.Report latch(int rounds) throws Exception {
        List<CuratorFramework> sessions = connect(bench.get("p", 8));
        String root = CuratorBench.createRoot(sessions.get(0));
        Election election = new Election(sessions, root);
        Limit limit = limit("rounds", rounds);
        for (int i = 0; i < sessions.size(); i++) {
            election.join(i);
        }
        awaitChildren(sessions.get(0), root, sessions.size());
        Grant leader = election.grants.take();

        long[] latencies = new long[rounds];
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        for (int round = 0; round < rounds; round++) {
            long closed = System.nanoTime();
            election.latches[leader.candidate].close();
            election.join(leader.candidate);
            leader = election.grants.take();
            latencies[round] = leader.at - closed;
            done.incrementAndGet();
        }
        CuratorBench.Report report = watch.stop(rounds, latencies);
        limit.lift();
        CuratorBench.close(sessions);
        report.more = String.format(
                ",\"handover_p50_us\":%s,\"handover_p99_us\":%s",
                report.percentile(50), report.percentile(99));
        return report;
    }

    /** A candidate's leadership, and when its listener heard of it. */
    private record Grant(int candidate, long at) {}

    /** Candidates with a session each. */
    private static final class Election {
        final BlockingQueue<Grant> grants = new LinkedBlockingQueue<>();
        final LeaderLatch[] latches;
        private final List<CuratorFramework> sessions;
        private final String root;

        Election(List<CuratorFramework> sessions, String root) {
            this.sessions = sessions;
            this.root = root;
            latches = new LeaderLatch[sessions.size()];
        }

        void join(int candidate) throws Exception {
            LeaderLatch latch = new LeaderLatch(sessions.get(candidate), root);
            latch.addListener(new LeaderLatchListener() {
                @Override
                public void isLeader() {
                    grants.add(new Grant(candidate, System.nanoTime()));
                }

                @Override
                public void notLeader() {}
            });
            latch.start();
            latches[candidate] = latch;
        }
    }

    private CuratorBench.Report barrier(int rounds) throws Exception {
        int p = bench.get("p", 16);
        List<CuratorFramework> sessions = connect(p);
        String root = CuratorBench.createRoot(sessions.get(0));
        for (int round = 0; round < rounds; round++) {
            // On one path, who is late in leaving would delete the next round's ready node.
            sessions.get(0).create().forPath(root + "/" + round);
        }
        List<Callable<Void>> members = new ArrayList<>();
        for (CuratorFramework session : sessions) {
            members.add(() -> {
                for (int round = 0; round < rounds; round++) {
                    DistributedDoubleBarrier barrier =
                            new DistributedDoubleBarrier(session, root + "/" + round, p);
                    barrier.enter();
                    barrier.leave();
                    done.incrementAndGet();
                }
                return null;
            });
        }
        Limit limit = limit("enters and leaves", rounds * p, 20);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        CuratorBench.finish(CuratorBench.start(members));
        CuratorBench.Report report = watch.stop(rounds, null);
        limit.lift();
        CuratorBench.close(sessions);
        return report;
    }

    private CuratorBench.Report semaphore(int n) throws Exception {
        int p = bench.get("p", 8);
        List<CuratorFramework> sessions = connect(p);
        String root = CuratorBench.createRoot(sessions.get(0));
        List<Callable<Void>> contenders = new ArrayList<>();
        for (CuratorFramework session : sessions) {
            InterProcessSemaphoreV2 semaphore =
                    new InterProcessSemaphoreV2(session, root, bench.get("permits", 4));
            contenders.add(() -> {
                for (int i = 0; i < n; i++) {
                    Lease lease = semaphore.acquire();
                    semaphore.returnLease(lease);
                    done.incrementAndGet();
                }
                return null;
            });
        }
        Limit limit = limit("permits", n * p);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        CuratorBench.finish(CuratorBench.start(contenders));
        CuratorBench.Report report = watch.stop(n * p, null);
        limit.lift();
        CuratorBench.close(sessions);
        report.more =
                String.format(Locale.ROOT, ",\"permits_per_s\":%.1f", report.perSecond);
        return report;
    }

    private CuratorBench.Report rwlock(int readers) throws Exception {
        List<CuratorFramework> sessions = connect(bench.get("sessions", 4));
        CuratorFramework control = connect(1).get(0);
        String root = CuratorBench.createRoot(control);
        InterProcessMutex writer = new InterProcessReadWriteLock(control, root).writeLock();
        writer.acquire();

        CountDownLatch granted = new CountDownLatch(readers);
        List<Callable<Void>> waiting = new ArrayList<>();
        for (int i = 0; i < readers; i++) {
            CuratorFramework session = sessions.get(i % sessions.size());
            InterProcessMutex reader = new InterProcessReadWriteLock(session, root).readLock();
            waiting.add(() -> {
                reader.acquire();
                done.incrementAndGet();
                granted.countDown();
                granted.await(); // or releases would be measured as well
                reader.release();
                return null;
            });
        }
        Limit limit = limit("readers", readers);
        List<Future<Void>> started = CuratorBench.start(waiting);
        awaitChildren(control, root, readers + 1);
        Thread.sleep(1_000); // the last ones still look who is before them
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        writer.release();
        granted.await();
        CuratorBench.Report report = watch.stop(readers, null);
        CuratorBench.finish(started);
        limit.lift();

        report.more = String.format(
                Locale.ROOT,
                ",\"all_ms\":%.3f,\"read_per_s\":%.1f",
                report.secs * 1e3, reads(control, bench.get("n", 3_000)).perSecond);
        sessions.add(control);
        CuratorBench.close(sessions);
        return report;
    }

    private CuratorBench.Report reads(CuratorFramework session, int n) throws Exception {
        String root = CuratorBench.createRoot(session);
        InterProcessMutex reader = new InterProcessReadWriteLock(session, root).readLock();
        Limit limit = limit("reads", n);
        CuratorBench.Stopwatch watch = new CuratorBench.Stopwatch();
        for (int i = 0; i < n; i++) {
            reader.acquire();
            reader.release();
            done.incrementAndGet();
        }
        CuratorBench.Report report = watch.stop(n, null);
        limit.lift();
        return report;
    }
}
