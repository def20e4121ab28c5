internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore

/// The document of keys that an issuer publishes (`jwks_uri` of OpenID Connect).
struct KeyDocument: Sendable {
    /// Requests wait for it, so it is short.
    private static let timeLimit: Duration = .seconds(5)

    let questions: OwnQuestions

    /// - Throws: ``GatewayError`` (`unreachable`) when the issuer is away, or does not answer 200.
    func bytes(at url: String) async throws -> [UInt8] {
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: "Accept", value: "application/jwk-set+json, application/json")
        let answer: (status: UInt, body: ByteBuffer)
        do {
            answer = try await self.questions.answer(to: request, within: Self.timeLimit)
        } catch {
            throw GatewayError(.unreachable, "the keys at \(url) cannot be fetched: \(error)", cause: error)
        }
        guard answer.status == 200 else {
            throw GatewayError(.unreachable, "\(url) answered \(answer.status) where keys were expected")
        }
        return Array(buffer: answer.body)
    }
}
