import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;

/**
 * The Curator side of the interop test of locks: a party that other processes, Curator's or not,
 * contend with on one lock.
 *
 * <pre>
 * CuratorLock HOST:PORT PATH ROUNDS FILE MODE
 *   rounds  ROUNDS times: acquire, print "ACQUIRED round", add one to the number in FILE, release;
 *           then print "DONE"
 *   hold    acquire, print "ACQUIRED", wait for a line on stdin, release, print "RELEASED"
 * </pre>
 *
 * Each round leaves a line "enter curator PID" and a line "leave curator PID" in FILE.log. If the
 * lock excludes, no two rounds overlap there, and FILE holds the number of rounds of all parties.
 * Any exception ends the process with a failure.
 *
 * Debian's jars: libcurator-recipes-java pulls in the others, and each jar's manifest names those
 * it needs, so the classpath is curator-recipes.jar and curator-framework.jar, with slf4j-nop.jar
 * to keep Curator's log away.
 */
public final class CuratorLock {
    private final InterProcessMutex mutex;
    private final Path counter;
    private final Path log;

    private CuratorLock(InterProcessMutex mutex, Path counter) {
        this.mutex = mutex;
        this.counter = counter;
        this.log = Path.of(counter + ".log");
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 5) {
            throw new IllegalArgumentException("usage: CuratorLock HOST:PORT PATH ROUNDS FILE MODE");
        }
        int rounds = Integer.parseInt(args[2]);
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(
                args[0], 10_000, 10_000, new ExponentialBackoffRetry(100, 10))) {
            client.start();
            CuratorLock party =
                    new CuratorLock(new InterProcessMutex(client, args[1]), Path.of(args[3]));
            switch (args[4]) {
                case "rounds" -> party.takeTurns(rounds);
                case "hold" -> party.hold();
                default -> throw new IllegalArgumentException("no such mode: " + args[4]);
            }
        }
    }

    private void takeTurns(int rounds) throws Exception {
        for (int round = 0; round < rounds; round++) {
            mutex.acquire();
            try {
                System.out.println("ACQUIRED " + round);
                note("enter");
                increment();
                note("leave");
            } finally {
                mutex.release();
            }
        }
        System.out.println("DONE");
    }

    private void hold() throws Exception {
        mutex.acquire();
        System.out.println("ACQUIRED");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        mutex.release();
        System.out.println("RELEASED");
    }

    /** Loses an update if anybody else is inside: that is what it is for. */
    private void increment() throws IOException, InterruptedException {
        long before = Files.exists(counter) ? Long.parseLong(Files.readString(counter).strip()) : 0;
        Thread.sleep(1);
        Files.writeString(counter, (before + 1) + "\n");
    }

    /** One write in append mode, so that lines of several processes keep whole and in order. */
    private void note(String what) throws IOException {
        String line = what + " curator " + ProcessHandle.current().pid() + "\n";
        Files.writeString(log, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
}
