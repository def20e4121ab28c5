import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import HTTPTestSupport
import Logging
import ParleyCore
import ParleyDiscovery
import ParleyGRPC
import ParleyResilience
import ProcessTestSupport
import ServiceLifecycle
import Synchronization
import Testing

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Messages that are texts, so that the tests need no generated code.
struct TextCodec: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: String) throws -> Bytes { Bytes(message.utf8) }
    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> String {
        bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }
}

/// `test.Test`: what tests call.
struct TestRPCs: RegistrableRPCService {
    /// What happened to the calls, in their order.
    let seen = Seen()
    /// What `Echo` waits for.
    var gate: Gate?

    final class Seen: Sendable {
        private let entries = Mutex<[String]>([])
        var all: [String] { self.entries.withLock { $0 } }

        /// - Returns: How many there are now.
        @discardableResult
        func add(_ entry: String) -> Int {
            self.entries.withLock { entries in
                entries.append(entry)
                return entries.count
            }
        }
    }

    static func method(_ name: String) -> MethodDescriptor {
        MethodDescriptor(fullyQualifiedService: "test.Test", method: name)
    }

    struct Unavailable: RetryClassifiedError { let retry = RetrySafety.notSent }
    struct Problem: ProblemConvertible { var problem: ProblemDetails }
    struct Secret: Error { let password = "hunter2" }

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        func unary(_ name: String, _ body: @escaping @Sendable (String, ServerContext) async throws -> String) {
            router.registerHandler(forMethod: Self.method(name), deserializer: TextCodec(), serializer: TextCodec()) {
                request,
                context in
                let text = try await ServerRequest(stream: request).message
                return StreamingServerResponse(single: ServerResponse(message: try await body(text, context)))
            }
        }
        unary("Echo") { [seen, gate] text, _ in
            seen.add("echo")
            try await gate?.wait()
            return text
        }
        unary("Peer") { _, context in context.localPeer }
        unary("Context") { _, _ in
            let work = RequestContext.current
            let left = work?.deadline?.remaining(at: ContinuousClock.now).inMilliseconds ?? -1
            return "\(work?.requestID ?? "none") \(work?.caller ?? "none") \(left)"
        }
        unary("Wait") { [seen] _, _ in
            seen.add("waiting")
            do {
                try await SystemTimeSource().sleep(for: .seconds(3_600))
            } catch {
                seen.add("cancelled")
                throw error
            }
            return "never"
        }
        unary("Fail") { [seen] what, _ in
            seen.add("fail")
            switch what {
            case "secret": throw Secret()
            case "unavailable": throw Unavailable()
            case "status": throw RPCError(code: .unavailable, message: "not now")
            default: throw Problem(problem: ProblemDetails(status: Int(what), detail: "a \(what)", code: "c"))
            }
        }
        router.registerHandler(forMethod: Self.method("Count"), deserializer: TextCodec(), serializer: TextCodec()) {
            [seen] request, _ in
            let end = Int(try await ServerRequest(stream: request).message) ?? 0
            return StreamingServerResponse { writer in
                do {
                    for number in 0..<end {
                        try Task.checkCancellation()
                        try await writer.write("\(number)")
                        // The library takes what is written without end, and then does not hear that nobody reads.
                        if number >= 100 { try await SystemTimeSource().sleep(for: .milliseconds(1)) }
                    }
                } catch {
                    seen.add("stream ended early")
                    throw error
                }
                return [:]
            }
        }
        router.registerHandler(forMethod: Self.method("Chat"), deserializer: TextCodec(), serializer: TextCodec()) {
            request,
            _ in
            StreamingServerResponse { writer in
                for try await text in request.messages { try await writer.write("you said \(text)") }
                return [:]
            }
        }
    }
}

/// Runs `body` beside a server on a free port.
func withServer<Value: Sendable>(
    _ rpcs: TestRPCs = TestRPCs(),
    name: ServiceName = "test-service",
    registrar: (any ServiceRegistrar)? = nil,
    configure: (inout GRPCService.Configuration) -> Void = { _ in },
    _ body: @escaping @Sendable (GRPCService, ParleyCore.Endpoint) async throws -> Value
) async throws -> Value {
    var configuration = GRPCService.Configuration(name: name)
    configure(&configuration)
    let service = try GRPCService(
        configuration: configuration,
        services: [rpcs],
        registrar: registrar,
        logger: quiet
    )
    return try await withRunning(service) { _ in try await body(service, try await service.endpoint()) }
}

extension GRPCServiceClient {
    func text(
        _ method: String,
        _ text: String = "",
        of service: ServiceName = "test-service",
        isRepeatable: Bool = false,
        deadline: Deadline? = nil
    ) async throws -> String {
        try await self.call(service, isRepeatable: isRepeatable, deadline: deadline) { connection, options in
            try await connection.unary(
                request: ClientRequest(message: text),
                descriptor: TestRPCs.method(method),
                serializer: TextCodec(),
                deserializer: TextCodec(),
                options: options
            ) { try $0.message }
        }
    }
}

func withClient<Value: Sendable>(
    _ resolver: any ServiceResolver,
    configure: (inout GRPCServiceClient.Configuration) -> Void = { _ in },
    _ body: @escaping @Sendable (GRPCServiceClient) async throws -> Value
) async throws -> Value {
    var configuration = GRPCServiceClient.Configuration(name: "tester")
    configure(&configuration)
    let client = GRPCServiceClient(configuration: configuration, resolver: resolver, logger: quiet)
    return try await withRunning(client) { _ in try await body(client) }
}

func at(_ endpoints: ParleyCore.Endpoint...) -> StaticResolver { StaticResolver(["test-service": endpoints]) }

/// The error of a call that must fail.
func failure(_ body: () async throws -> String) async -> GRPCCallError? {
    do {
        Issue.record("answered: \(try await body())")
        return nil
    } catch {
        if !(error is GRPCCallError) { Issue.record("\(error)") }
        return error as? GRPCCallError
    }
}

/// Google's gRPC, in a process of its own.
enum Peer {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    static func start(_ arguments: String...) async throws -> RunningProcess {
        let script = self.root.path + "/../../dev/servers/grpc-peer"
        let packages = try await Subprocess.run(script, [])
        guard packages.status == 0 else { throw TestSupportError(packages.error) }
        let path = packages.output.trimmingCharacters(in: .whitespacesAndNewlines)
        return try RunningProcess("python3", [self.root.path + "/Peer/peer.py"] + arguments, ["PYTHONPATH": path])
    }
}
