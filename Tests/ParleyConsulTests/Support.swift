import HTTPTestSupport
import InMemoryLogging
import Logging
import ParleyCore
import ParleyDiscovery
import ParleyRegistry
import ProcessTestSupport
import Testing

@testable import ParleyConsul

/// A client for the length of `body`.
func withClient<Value>(
    _ endpoint: Endpoint,
    time: any TimeSource = SystemTimeSource(),
    _ change: (inout ConsulConfiguration) -> Void = { _ in },
    _ body: (ConsulClient) async throws -> Value
) async throws -> Value {
    var configuration = ConsulConfiguration(endpoint: endpoint)
    change(&configuration)
    let client = try ConsulClient(configuration, time: time, random: SeededRandomSource(seed: 7))
    do {
        let value = try await body(client)
        await client.shutdown()
        return value
    } catch {
        await client.shutdown()
        throw error
    }
}

/// A registry that speaks Consul, empty, on a port of its own or a given one.
func withRegistry<Value>(
    port: Int = 0,
    token: String? = nil,
    _ body: (Endpoint) async throws -> Value
) async throws -> Value {
    var configuration = RegistryConfiguration(port: port)
    configuration.nodeName = "refnode"
    configuration.token = token
    let registry = try await Registry(configuration, logger: testLogger)
    return try await withRunning(registry) { _ async throws in try await body(try await registry.endpoint()) }
}

func instance(_ id: String, of service: ServiceName = "web", port: Int = 8_080) -> ServiceInstance {
    ServiceInstance(
        id: id,
        service: service,
        endpoint: Endpoint(host: "127.0.0.1", port: port),
        tags: ["v1"],
        knowsItsID: true
    )
}

/// One line of `/v1/health/service/:name`.
func entry(
    _ id: String,
    _ status: String = "passing",
    node: String = "refnode",
    address: String = "10.0.0.1",
    port: Int = 80,
    meta: String = "null"
) -> String {
    """
    {"Node": {"ID": "", "Node": "\(node)", "Address": "10.9.9.9", "Datacenter": "dc1", "Meta": null},
     "Service": {"ID": "\(id)", "Service": "web", "Tags": ["v1"], "Address": "\(address)", "Meta": \(meta),
                 "Port": \(port), "Weights": {"Passing": 10, "Warning": 2}, "CreateIndex": 1, "ModifyIndex": 1},
     "Checks": [{"Node": "\(node)", "CheckID": "c", "Name": "c", "Status": "\(status)"}]}
    """
}

func entries(_ ids: String...) -> String { "[" + ids.map { entry($0) }.joined(separator: ",") + "]" }

/// What a body throws, as ours.
func consulError(_ body: () async throws -> Void) async -> ConsulError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? ConsulError
    }
}

/// A log that can be read.
func recordingLogger() -> (Logger, InMemoryLogHandler) {
    let handler = InMemoryLogHandler()
    return (Logger(label: "test", factory: { _ in handler }), handler)
}

/// Questions that follow each other quickly, for tests that do not look at the limits.
func quickWatch() -> ConsulWatchConfiguration {
    var watch = ConsulWatchConfiguration()
    watch.minimumInterval = .milliseconds(1)
    watch.backoff = Backoff(initial: .milliseconds(5), cap: .milliseconds(50))
    return watch
}
