internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
package import ParleyCore
package import ParleyGateway

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The admin API of a gateway, from outside.
package struct GatewayAdminClient: Sendable {
    /// Why it did not do what was asked.
    package struct Failure: RetryClassifiedError, CustomStringConvertible {
        package enum Kind: Sendable { case unreachable, notFound, refused }

        package var kind: Kind
        package var message: String
        package var retry: RetrySafety { self.kind == .unreachable ? .notSent : .permanent }
        package var description: String { self.message }
    }

    private static let maxBytes = 16 << 20
    private let address: String

    /// - Parameter address: `http://127.0.0.1:9901`, or only `127.0.0.1:9901`.
    package init(address: String) {
        let text = address.contains("://") ? address : "http://\(address)"
        self.address = text.hasSuffix("/") ? String(text.dropLast()) : text
    }

    package func status() async throws -> GatewayStatus { try await self.get("/status") }

    package func explain(_ id: String) async throws -> GatewayAdmin.Story {
        try await self.get("/explain/" + Self.segment(id))
    }

    package func records(last count: Int) async throws -> [ExchangeRecord] {
        try await self.get("/explain?last=\(count)")
    }

    package func reload() async throws -> GatewayAdmin.Reloaded { try await self.call("/reload", .POST) }

    /// A request id is a client's choice: whatever is no letter or digit is encoded.
    private static func segment(_ id: String) -> String {
        id.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                String(UnicodeScalar(byte))
            default: (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true)
            }
        }.joined()
    }

    private static func send(_ request: HTTPClientRequest) async throws -> (status: Int, body: ByteBuffer) {
        var configuration = HTTPClient.Configuration()
        // Whoever asks sits at a terminal: a gateway that is not there is said at once.
        configuration.connectionPool.retryConnectionEstablishment = false
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let result: Result<(Int, ByteBuffer), any Error>
        do {
            // A reload reads files and certificates.
            let response = try await client.execute(request, timeout: .seconds(30))
            let body = try await response.body.collect(upTo: Self.maxBytes)
            result = .success((Int(response.status.code), body))
        } catch {
            result = .failure(error)
        }
        try? await client.shutdown()
        return try result.get()
    }

    private func get<Value: Decodable>(_ path: String) async throws -> Value { try await self.call(path, .GET) }

    private func call<Value: Decodable>(_ path: String, _ method: HTTPMethod) async throws -> Value {
        var request = HTTPClientRequest(url: self.address + path)
        request.method = method
        let status: Int
        let body: ByteBuffer
        do {
            (status, body) = try await Self.send(request)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw Failure(
                kind: .unreachable,
                message: "no gateway answers at \(self.address) (\(error)); is it running? Say where its admin API is "
                    + "with --admin"
            )
        }
        let data = Data(body.readableBytesView)
        guard status == 200 else {
            let problem = try? JSONDecoder().decode(ProblemDetails.self, from: data)
            let detail = problem?.detail ?? "it answered \(status); is it a gateway's admin API?"
            throw Failure(kind: status == 404 && problem?.code == "no_record" ? .notFound : .refused, message: detail)
        }
        do {
            return try JSONDecoder().decode(Value.self, from: data)
        } catch {
            throw Failure(kind: .refused, message: "\(self.address) answers, but not as a gateway's admin API does")
        }
    }
}
