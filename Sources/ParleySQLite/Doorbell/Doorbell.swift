internal import Foundation
internal import ParleyCore
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Wakes the other processes that work on the same file, 0.1 ms after a commit instead of at their next poll.
///
/// Each backend listens on a unix datagram socket in a folder that belongs to the user and to the file:
/// `/tmp/parley-<uid>/<device and inode>/<pid>-<n>.sock`. A datagram is one byte, the channels that have news. Rings
/// are hints: a lost one costs at most the poll, a needless one a look. So sending never blocks, several rings within a
/// millisecond are one, and sockets of dead processes are swept away when they refuse.
///
/// Sending happens on the writer's thread only; receiving has a thread of its own, which sleeps in `poll`.
final class Doorbell {
    private let socket: DoorbellSocket
    private let listener: DoorbellListener
    private var pending: Channels = []
    private var attemptsLeft = 0
    private var lastRing: UInt64 = 0

    private static let interval: UInt64 = 1_000_000
    /// How often a peer whose buffer is full is tried again before its poll has to do.
    private static let maximumAttempts = 5

    /// `nil` and the reason when this user cannot have such a folder; the polls work without it.
    static func open(device: UInt64, inode: UInt64, bells: Bells) throws -> Doorbell {
        let socket = try DoorbellSocket(device: device, inode: inode)
        let listener = try DoorbellListener(socket: socket, bells: bells)
        return Doorbell(socket: socket, listener: listener)
    }

    private init(socket: DoorbellSocket, listener: DoorbellListener) {
        self.socket = socket
        self.listener = listener
    }

    /// When ``ringPending()`` is due, in monotonic nanoseconds.
    var nextRing: UInt64? { self.pending.isEmpty ? nil : self.lastRing + Self.interval }

    /// Whether another backend uses the file.
    var hasPeers: Bool { !self.socket.peers.isEmpty }

    func ring(_ channels: Channels) {
        guard !channels.isEmpty else { return }
        self.pending.formUnion(channels)
        self.attemptsLeft = Self.maximumAttempts
        if monotonicNanoseconds() >= self.lastRing + Self.interval { self.ringPending() }
    }

    func ringPending() {
        guard !self.pending.isEmpty else { return }
        self.lastRing = monotonicNanoseconds()
        self.attemptsLeft -= 1
        if self.socket.send(self.pending.rawValue) || self.attemptsLeft <= 0 { self.pending = [] }
    }

    func close() {
        // In this order: the listener closes the socket, which the removal still uses.
        self.socket.remove()
        self.listener.stop()
    }
}

/// Receives rings on a thread of its own.
private final class DoorbellListener: Sendable {
    private let stopping: CInt

    init(socket: DoorbellSocket, bells: Bells) throws {
        var ends: [CInt] = [0, 0]
        guard pipe(&ends) == 0 else { throw DoorbellSocket.failure("pipe") }
        let stopped = ends[0]
        self.stopping = ends[1]
        let descriptor = socket.descriptor
        let thread = Thread { Self.listen(on: descriptor, until: stopped, bells) }
        thread.name = "parley-doorbell"
        thread.stackSize = 256 << 10
        thread.start()
    }

    /// The thread closes what it uses; the other end is closed here, which is what wakes it.
    func stop() { Glue.close(self.stopping) }

    private static func listen(on descriptor: CInt, until stopped: CInt, _ bells: Bells) {
        defer {
            Glue.close(descriptor)
            Glue.close(stopped)
        }
        var watched = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: stopped, events: Int16(POLLIN), revents: 0),
        ]
        while true {
            guard poll(&watched, 2, -1) >= 0 || errno == EINTR else { return }
            if watched[1].revents != 0 { return }
            var channels: Channels = []
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, CInt(MSG_DONTWAIT)) == 1 { channels.insert(Channels(rawValue: byte)) }
            let known = channels.intersection(.all)
            if !known.isEmpty { bells.ringFromOutside(known) }
        }
    }
}

/// `close` of the C library, where a method of the same name hides it.
enum Glue {
    static func close(_ descriptor: CInt) {
        #if canImport(Darwin)
        _ = Darwin.close(descriptor)
        #elseif canImport(Glibc)
        _ = Glibc.close(descriptor)
        #endif
    }
}
