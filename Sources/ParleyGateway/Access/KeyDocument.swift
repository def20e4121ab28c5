internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import ParleyHTTPClient

/// The document of keys that an issuer publishes (`jwks_uri` of OpenID Connect).
struct KeyDocument: Sendable {
    /// Requests wait for it, so it is short.
    private static let timeLimit: TimeAmount = .seconds(5)
    private static let maxBytes = 1_048_576

    let connections: HTTPConnections

    /// - Throws: ``GatewayError`` (`unreachable`) when the issuer is away, or does not answer 200.
    func bytes(at url: String) async throws -> [UInt8] {
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: "Accept", value: "application/jwk-set+json, application/json")
        do {
            let answer = try await self.connections.client.execute(request, deadline: .now() + Self.timeLimit)
            guard answer.status == .ok else {
                throw GatewayError(.unreachable, "\(url) answered \(answer.status.code) where keys were expected")
            }
            return Array(buffer: try await answer.body.collect(upTo: Self.maxBytes))
        } catch let error as GatewayError {
            throw error
        } catch {
            throw GatewayError(.unreachable, "the keys at \(url) cannot be fetched: \(error)", cause: error)
        }
    }
}

extension HTTPConnections {
    /// Few and short: nothing that passes through the gateway uses them.
    static func ofGateway() -> HTTPConnections {
        HTTPConnections(connectTimeout: .seconds(5), maxConnectionsPerEndpoint: 8)
    }
}
