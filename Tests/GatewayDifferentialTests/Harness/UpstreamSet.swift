internal import Foundation
internal import ParleyCore
internal import ProcessTestSupport
internal import Synchronization

/// The servers behind a gateway, each with a name, all in one thread. They keep a record of what comes.
///
/// `up1` to `up6` play the scripts; `dead` refuses connections; `full` never takes one, because its backlog is.
final class UpstreamSet: Sendable {
    static let names = ["up1", "up2", "up3", "up4", "up5", "up6"]

    private enum Command {
        case begin([String: Script])
        case settle
        case stop
    }

    private struct Shared {
        var records: [Received] = []
        var commands: [(Command, DispatchSemaphore)] = []
    }

    let ports: [String: Int]
    private let shared = Mutex(Shared())
    private let wakeup: (reading: Int32, writing: Int32)

    init() throws {
        var listeners: [(Int32, String)] = []
        var ports: [String: Int] = [:]
        for name in Self.names {
            let (descriptor, port) = try Socket.bound()
            try Socket.startListening(descriptor)
            listeners.append((descriptor, name))
            ports[name] = port
        }
        var held: [Int32] = []
        let dead = try Socket.bound()
        let full = try Socket.bound()
        (ports["dead"], ports["full"]) = (dead.port, full.port)
        held += [dead.descriptor, full.descriptor]
        try Socket.startListening(full.descriptor, backlog: 0)
        for _ in 0..<3 { held.append(try Socket.opened(to: full.port, waits: false)) }
        var pair: [Int32] = [-1, -1]
        guard pipe(&pair) == 0 else { throw SocketFailure("pipe") }
        for end in pair {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        self.ports = ports
        self.wakeup = (pair[0], pair[1])
        Thread.detachNewThread { [self, listeners, held] in
            self.serve(listeners)
            for descriptor in listeners.map(\.0) + held { Socket.end(descriptor) }
        }
    }

    /// A new record, and connections of nobody.
    func begin(_ scripts: [String: Script]) { self.command(.begin(scripts)) }

    /// Everything that gateways have sent before this call is in the record that it gives.
    func settled() -> [Received] {
        self.command(.settle)
        return self.shared.withLock { $0.records }
    }

    func stop() {
        self.command(.stop)
        Socket.end(self.wakeup.writing)
        Socket.end(self.wakeup.reading)
    }

    private func command(_ command: Command) {
        let done = DispatchSemaphore(value: 0)
        self.shared.withLock { $0.commands.append((command, done)) }
        _ = write(self.wakeup.writing, [1], 1)
        done.wait()
    }

    private func serve(_ listeners: [(Int32, String)]) {
        var loop = UpstreamLoop(listeners, self.wakeup.reading)
        while true {
            loop.turn(waits: true)
            let commands = self.shared.withLock { shared in
                defer { shared.commands = [] }
                return shared.commands
            }
            for (command, done) in commands {
                switch command {
                case .begin(let scripts): loop.begin(scripts)
                case .settle: while loop.turn(waits: false) {}
                case .stop: loop.begin([:])
                }
                let records = loop.records
                self.shared.withLock { $0.records = records }
                done.signal()
                if case .stop = command { return }
            }
        }
    }
}

private struct UpstreamLoop {
    private(set) var records: [Received] = []
    private let listeners: [(descriptor: Int32, name: String)]
    private let wakeup: Int32
    private let time = SystemTimeSource()
    private var scripts: [String: Script] = [:]
    private var connections: [UpstreamConnection] = []
    private var counts: [String: Int] = [:]

    init(_ listeners: [(Int32, String)], _ wakeup: Int32) {
        self.listeners = listeners
        self.wakeup = wakeup
    }

    mutating func begin(_ scripts: [String: Script]) {
        while self.turn(waits: false) {}
        for index in self.connections.indices { self.connections[index].end() }
        self.connections = []
        self.records = []
        self.counts = [:]
        self.scripts = scripts
    }

    /// - Returns: Whether anything happened.
    @discardableResult
    mutating func turn(waits: Bool) -> Bool {
        var polled = [pollfd(fd: self.wakeup, events: Int16(POLLIN), revents: 0)]
        polled += self.listeners.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        polled += self.connections.map {
            pollfd(fd: $0.descriptor, events: Int16(POLLIN | ($0.wantsToWrite ? POLLOUT : 0)), revents: 0)
        }
        Socket.wait(&polled, waits ? self.patience : 0)
        var buffer = Bytes(repeating: 0, count: 64)
        if polled[0].revents != 0 { _ = read(self.wakeup, &buffer, buffer.count) }
        var hasHappened = false
        for index in self.connections.indices {
            hasHappened = self.serve(index, polled[1 + self.listeners.count + index].revents) || hasHappened
        }
        for (index, listener) in self.listeners.enumerated() where polled[1 + index].revents != 0 {
            while let descriptor = Socket.accepted(by: listener.descriptor) {
                self.counts[listener.name, default: 0] += 1
                let number = self.counts[listener.name, default: 0]
                self.connections.append(UpstreamConnection(descriptor, listener.name, number))
                hasHappened = true
            }
        }
        self.connections.removeAll(where: \.isOver)
        return hasHappened
    }

    private mutating func serve(_ index: Int, _ events: Int16) -> Bool {
        var hasHappened = false
        if events & Int16(POLLOUT) != 0 {
            self.connections[index].writable()
            hasHappened = true
        }
        if events & ~Int16(POLLOUT) != 0, !self.connections[index].isOver {
            let some = self.connections[index].readable(&self.records, self.scripts, self.time)
            hasHappened = hasHappened || some
        }
        if let wakesAt = self.connections[index].wakesAt, wakesAt <= self.time.now, !self.connections[index].isOver {
            self.connections[index].advance(&self.records, self.scripts, self.time)
            hasHappened = true
        }
        return hasHappened
    }

    /// Until the next script goes on.
    private var patience: Int32 {
        guard let next = self.connections.compactMap(\.wakesAt).min() else { return -1 }
        let left = next - self.time.now
        return Int32(
            clamping: max(0, left.components.seconds * 1_000 + left.components.attoseconds / 1_000_000_000_000_000 + 1)
        )
    }
}
