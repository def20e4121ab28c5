public import ParleyCore
internal import Synchronization

/// One promise of a port, as a test with a name of its own.
///
/// ```swift
/// @Suite(.timeLimit(.minutes(1))) struct MyTransportTests {
///     @Test(arguments: TransportConformance.cases(for: MyTransport.capabilities))
///     func conforms(_ testCase: TransportConformance.Case) async throws {
///         let file = TemporaryFile()
///         try await testCase.run(ConformanceFixture { time in
///             let transport = try await MyTransport(file, time: time)
///             return .init(port: transport) { await transport.close() }
///         })
///     }
/// }
/// ```
/// A case that fails throws ``ConformanceFailure``. One that waits for something that never comes does not end: give
/// the suite a time limit.
public struct ConformanceCase<Port: Sendable>: Sendable, CustomStringConvertible {
    public let name: String
    /// Whether it can only be run on a backend that lives by the `TimeSource` that it is given.
    let needsTime: Bool
    private let body: @Sendable (ConformanceBench<Port>) async throws -> Void

    init(
        _ name: String,
        needsTime: Bool = false,
        _ body: @escaping @Sendable (ConformanceBench<Port>) async throws -> Void
    ) {
        self.name = name
        self.needsTime = needsTime
        self.body = body
    }

    /// The name, which is what a test report shows.
    public var description: String { self.name }

    /// - Parameter fixture: A fresh one for each case.
    /// - Throws: ``ConformanceFailure``, or what the backend throws.
    public func run(_ fixture: ConformanceFixture<Port>) async throws {
        let bench = ConformanceBench(fixture)
        let result: Result<Void, any Error>
        do {
            try await self.body(bench)
            result = .success(())
        } catch var failure as ConformanceFailure {
            failure.caseName = self.name
            result = .failure(failure)
        } catch {
            result = .failure(error)
        }
        await bench.closeAll()
        try result.get()
    }
}

/// How a suite gets at a backend: one storage, empty at first, and handles on it.
public struct ConformanceFixture<Port: Sendable>: Sendable {
    /// One opened handle, as a process of its own would have it.
    public struct Handle: Sendable {
        public let port: Port
        /// Opens transactions in which the port takes part; the suites of outbox, inbox and saga store need it.
        public let transactions: (any TransactionRunner)?
        let close: @Sendable () async -> Void

        public init(
            port: Port,
            transactions: (any TransactionRunner)? = nil,
            close: @escaping @Sendable () async -> Void = {}
        ) {
            self.port = port
            self.transactions = transactions
            self.close = close
        }
    }

    let followsTime: Bool
    let open: @Sendable (any TimeSource) async throws -> Handle

    /// - Parameters:
    ///   - followsTime: Whether the backend lives by the `TimeSource` that it is given, the same as the suite was told;
    ///     when not (a server has a clock of its own), the cases let real time pass.
    ///   - open: Opens a handle on this fixture's storage. It is called a second time only for backends that the suite
    ///     was told are durable or shared; each handle may be given a clock of its own.
    public init(followsTime: Bool = true, open: @escaping @Sendable (any TimeSource) async throws -> Handle) {
        self.followsTime = followsTime
        self.open = open
    }
}

/// What a case works with.
final class ConformanceBench<Port: Sendable>: Sendable {
    typealias Handle = ConformanceFixture<Port>.Handle

    /// Moved by ``pass(_:)``; a backend that has its own clock does not notice.
    let clock = ManualClock()
    let fixture: ConformanceFixture<Port>
    private let handles = Mutex<[Handle]>([])

    init(_ fixture: ConformanceFixture<Port>) {
        self.fixture = fixture
    }

    /// The clock that the handles read.
    var time: any TimeSource { self.fixture.followsTime ? self.clock : SystemTimeSource() }

    /// A handle on the storage that lives by ``time``.
    func open() async throws -> Handle { try await self.open(on: self.time) }

    /// A handle with a clock of its own: as long as that stands still, its process is paused.
    func open(on time: any TimeSource) async throws -> Handle {
        let handle = try await self.fixture.open(time)
        self.handles.withLock { $0.append(handle) }
        return handle
    }

    func transactions(_ handle: Handle) throws -> any TransactionRunner {
        try require(handle.transactions, "the fixture's handle to have transactions")
    }

    /// Lets `duration` pass for everybody.
    func pass(_ duration: Duration) async throws {
        if self.fixture.followsTime {
            self.clock.advance(by: duration)
        } else {
            try await SystemTimeSource().sleep(for: duration)
        }
    }

    func closeAll() async {
        for handle in self.handles.withLock({ $0 }).reversed() { await handle.close() }
    }
}

/// Returns once `condition` holds. It looks again whenever other tasks have had their turn; the time limit of the test
/// is what ends it otherwise.
func eventually(_ condition: () async throws -> Bool) async throws {
    while try await !condition() {
        try Task.checkCancellation()
        await Task.yield()
    }
}

/// Gives other tasks so many turns that one of them would have done what it must not do. It proves nothing when it
/// passes, but it finds a backend that does it at once.
func giveOthersTheirTurn() async {
    for _ in 0..<50 { await Task.yield() }
}
