import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.HashSet;
import java.util.Set;

/** A way to a server that can be shut: who has come through it is cut off, and others are refused. */
final class Gate {
    private final InetSocketAddress server;
    private final Set<Closeable> open = new HashSet<>();
    private ServerSocket listener;
    private int port;

    /** An open gate before the server at {@code HOST:PORT}. */
    Gate(String address) throws IOException {
        int colon = address.lastIndexOf(':');
        server = new InetSocketAddress(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
        open();
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    synchronized void open() throws IOException {
        ServerSocket listening = new ServerSocket();
        listening.setReuseAddress(true);
        listening.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        port = listening.getLocalPort();
        listener = listening;
        start(() -> {
            while (true) {
                passOn(listening.accept());
            }
        });
    }

    synchronized void shut() throws IOException {
        listener.close();
        for (Closeable each : open) {
            each.close();
        }
        open.clear();
    }

    private synchronized void passOn(Socket client) throws IOException {
        if (listener.isClosed()) {
            client.close();
            return;
        }
        Socket behind = new Socket(server.getAddress(), server.getPort());
        for (Socket socket : new Socket[] {client, behind}) {
            socket.setTcpNoDelay(true);
            open.add(socket);
        }
        start(() -> copy(client, behind));
        start(() -> copy(behind, client));
    }

    private static void copy(Socket from, Socket to) throws IOException {
        try (from; to) {
            from.getInputStream().transferTo(to.getOutputStream());
        }
    }

    private interface Work {
        void run() throws IOException;
    }

    private static void start(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException closed) {
                // One of the two ends has gone, or the gate was shut.
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
