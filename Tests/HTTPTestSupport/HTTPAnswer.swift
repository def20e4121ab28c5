internal import AsyncHTTPClient
internal import NIOCore
public import NIOHTTP1
public import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The complete answer to one request.
public struct HTTPAnswer: Sendable {
    public var status: Int
    public var headers: HTTPHeaders
    public var body: [UInt8]

    public var text: String { String(decoding: self.body, as: UTF8.self) }

    public var problem: ProblemDetails? { try? JSONDecoder().decode(ProblemDetails.self, from: Data(self.body)) }

    public func header(_ name: String) -> String? { self.headers.first(name: name) }

    public func json<Value: Decodable>(_ type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: Data(self.body))
    }
}

/// One request with the library's shared client: no retries, no redirects of interest.
public func request(
    _ method: String = "GET",
    _ path: String,
    at endpoint: Endpoint,
    headers: [(String, String)] = [],
    body: String? = nil
) async throws -> HTTPAnswer {
    var request = HTTPClientRequest(url: "http://\(endpoint)\(path)")
    request.method = HTTPMethod(rawValue: method)
    request.headers = HTTPHeaders(headers)
    if let body { request.body = .bytes(ByteBuffer(string: body)) }
    let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
    let bytes = try await response.body.collect(upTo: 64 * 1_048_576)
    return HTTPAnswer(
        status: Int(response.status.code),
        headers: response.headers,
        body: Array(bytes.readableBytesView)
    )
}
