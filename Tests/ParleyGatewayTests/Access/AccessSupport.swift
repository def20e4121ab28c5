import Foundation
import NIOCore
import ParleyCore
import Synchronization

@testable import ParleyGateway

/// A folder of one test; it goes with the test.
final class AccessFolder: Sendable {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "parley-access-\(getpid())-\(UUIDv7Generator.shared.next())"
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func file(_ name: String) -> String { self.path + "/" + name }

    /// Written aside and renamed, so that nobody reads a part of it; the inode tells that it is another file.
    @discardableResult
    func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: self.file(name)), options: .atomic)
        return self.file(name)
    }
}

/// A clock that stands still until the test moves it.
final class AccessClock: TimeSource {
    private struct State {
        var now = SystemTimeSource().now
        var wall = Timestamp(microseconds: 1_767_225_600_000_000)
    }

    private let state = Mutex(State())

    var now: ContinuousClock.Instant { self.state.withLock { $0.now } }
    var wallTime: Timestamp { self.state.withLock { $0.wall } }
    var seconds: Int { Int(self.wallTime.milliseconds / 1_000) }

    func advance(by duration: Duration) {
        self.state.withLock { state in
            state.now = state.now.advanced(by: duration)
            state.wall = state.wall + duration
        }
    }

    func sleep(until instant: ContinuousClock.Instant) async throws {
        throw CancellationError()
    }
}

func block(_ fields: [(String, String)]) -> FieldBlock {
    var block = FieldBlock()
    for (name, value) in fields {
        block.append(name: name.utf8, value: value.utf8, known: KnownField(Array(name.utf8).span))
    }
    return block
}

func authorization(_ value: String) -> FieldBlock { block([("Authorization", value)]) }

func basic(_ user: String, _ password: String) -> FieldBlock {
    authorization("Basic " + Data("\(user):\(password)".utf8).base64EncodedString())
}

extension FieldBlock {
    var lines: [String] { self.fields.map { "\(self.text($0.name)): \(self.text($0.value))" } }
}

extension AccessDecision {
    var name: String? {
        guard case .allowed(let identity) = self else { return nil }
        return identity.map { String(decoding: $0.name, as: UTF8.self) } ?? ""
    }

    var status: Int? {
        guard case .refused(let refusal) = self else { return nil }
        return Int(refusal.status)
    }

    var reason: String? {
        guard case .refused(let refusal) = self else { return nil }
        return refusal.reason
    }

    var isPending: Bool { self == .pending }
}
