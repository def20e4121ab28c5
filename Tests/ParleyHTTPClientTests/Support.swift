internal import HTTPTestSupport
internal import HTTPTypes
internal import Logging
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient

let target: ServiceName = "user-service"

func makeRequest(_ method: HTTPRequest.Method = .get, key: String? = nil) -> HTTPRequest {
    var fields = HTTPFields()
    if let key, let name = HTTPField.Name("Idempotency-Key") { fields[name] = key }
    return HTTPRequest(method: method, scheme: nil, authority: nil, path: "/api/v1/users/1", headerFields: fields)
}

func withClient<Value>(
    to endpoints: [Endpoint],
    configure: (inout ServiceClient.Configuration) -> Void = { _ in },
    _ body: (ServiceClient) async throws -> Value
) async throws -> Value {
    var configuration = ServiceClient.Configuration(name: "order-service")
    configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(2))
    configuration.connectTimeout = .seconds(2)
    configure(&configuration)
    return try await ServiceClient.withClient(
        configuration: configuration,
        resolver: StaticResolver([target: endpoints]),
        logger: testLogger,
        body
    )
}

/// The error of a call, for looking at.
func failure(_ body: () async throws -> ServiceResponse) async -> ServiceClientError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? ServiceClientError
    }
}

let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
