"""What the stand-in's servers have in common: a thread for each connection, and an end that hangs up on all of them."""

import contextlib
import socket
import socketserver
import threading


class ThreadedServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Handlers keep `connections` up to date."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(address, handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True, name=type(self).__name__).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for sock in list(self.connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
