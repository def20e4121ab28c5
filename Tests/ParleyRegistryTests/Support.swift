import Foundation
import HTTPTestSupport
import Logging
import ParleyCore
import ParleyDiscovery
import ProcessTestSupport
import Testing

@testable import ParleyRegistry

let local = "refnode"

/// A machine with its local node, as a registry begins.
func machine(limits: RegistryLimits = RegistryLimits(), floor: UInt64 = 0) throws -> RegistryStateMachine {
    var machine = RegistryStateMachine(localNode: local, limits: limits, floor: floor)
    _ = try machine.begin(NodeRecord(name: local, address: "127.0.0.1"), listsItself: true)
    return machine
}

/// `#require` cannot call what changes its receiver.
func watch(
    _ topic: RegistryStateMachine.Topic,
    in machine: inout RegistryStateMachine
) throws -> RegistryStateMachine.WatcherID {
    let watcher = machine.watch(topic)
    return try #require(watcher)
}

func service(_ id: String, _ name: String, port: Int = 80, tags: [String] = []) -> ServiceRecord {
    var service = ServiceRecord(node: local, id: id, name: name)
    service.port = port
    service.tags = tags
    return service
}

func ttlCheck(
    _ id: String,
    of service: String,
    _ status: CheckStatus = .critical,
    ttl: Duration = .seconds(10)
) -> CheckRecord {
    var check = CheckRecord(node: local, id: id, name: id, status: status)
    check.serviceID = service
    check.type = "ttl"
    check.plan = CheckPlan(probe: .ttl, interval: ttl, timeout: ttl)
    return check
}

func key(_ id: String) -> NodeItemKey { NodeItemKey(node: local, id: id) }

/// A registry that listens on a port of its own, and the way to it.
struct Running: Sendable {
    let registry: Registry
    let endpoint: Endpoint

    func send(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [(String, String)] = []
    ) async throws -> HTTPAnswer {
        try await request(method, path, at: self.endpoint, headers: headers, body: body)
    }

    /// Sends what must be taken.
    func put(_ path: String, _ body: String? = nil) async throws {
        let answer = try await self.send("PUT", path, body)
        try #require(answer.status == 200, "\(path): \(answer.status) \(answer.text)")
    }

    func get(_ path: String) async throws -> JSONValue {
        let answer = try await self.send("GET", path)
        try #require(answer.status == 200, "\(path): \(answer.status) \(answer.text)")
        return try JSONReader.read(answer.body)
    }

    /// The status of one of the agent's checks.
    func status(_ check: String) async throws -> String? {
        try await self.get("/v1/agent/checks")[check]?["Status"]?.string
    }
}

func withRegistry<Value>(
    _ change: (inout RegistryConfiguration) -> Void = { _ in },
    path: String? = nil,
    time: any TimeSource = SystemTimeSource(),
    random: any RandomSource = SeededRandomSource(seed: 1),
    _ body: (Running) async throws -> Value
) async throws -> Value {
    var configuration = RegistryConfiguration(port: 0, path: path)
    configuration.nodeName = local
    change(&configuration)
    let registry = try await Registry(configuration, logger: testLogger, time: time, random: random)
    return try await withRunning(registry) { _ in
        try await body(Running(registry: registry, endpoint: try await registry.endpoint()))
    }
}

/// A folder for one test, removed afterwards.
func withFolder<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    let folder = NSTemporaryDirectory() + "parley-registry-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try await body(folder)
}
