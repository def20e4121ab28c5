internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyHTTPServer

/// Between the connection and ``RegistryAPI``.
struct RegistryResponder: Sendable {
    let api: RegistryAPI
    let state: ListenerState
    let dates: DateHeader
    let logger: Logger

    @concurrent
    func respond(to request: Request, writer: consuming ResponseWriter, channel: any Channel) async throws {
        if request.headers[.expect]?.lowercased() == "100-continue" {
            try await writer.writeInformationalHead(HTTPResponse(status: .continue))
        }
        let answer = try await self.answer(request, channel: channel)
        var headers = HTTPFields()
        for (name, value) in answer.headers {
            guard let name = HTTPField.Name(name) else { continue }
            headers.append(HTTPField(name: name, value: value))
        }
        headers[.date] = self.dates.text
        var body = ByteBuffer()
        switch answer.body {
        case .none: break
        case .text(let text):
            headers[.contentType] = "text/plain; charset=utf-8"
            body.writeString(text)
        case .json(let bytes):
            headers[.contentType] = "application/json"
            body = bytes
        case .bytes(let bytes):
            headers[.contentType] = "text/plain; charset=utf-8"
            headers[HTTPField.Name("X-Content-Type-Options") ?? .server] = "nosniff"
            body.writeBytes(bytes)
        }
        headers[.contentLength] = "\(body.readableBytes)"
        if self.state.isDraining { headers[.connection] = "close" }
        let head = HTTPResponse(status: HTTPResponse.Status(code: answer.status), headerFields: headers)
        var open: ResponseWriter? = writer
        do {
            guard let writer = open.take() else { return }
            // An answer to HEAD has no body, whatever its length says.
            let content = request.method == .head ? ResponseBody() : ResponseBody(byteBuffer: body)
            try await writer.write(response: head, body: content)
        } catch is HTTPParserError {
            // Hummingbird would answer this error with a 400, in the middle of the answer that has been begun.
            throw BrokenAnswer()
        }
    }

    private struct BrokenAnswer: Error {}

    private func answer(_ request: Request, channel: any Channel) async throws -> APIAnswer {
        let target = request.head.path ?? "/"
        guard
            let parsed = APIRequest(method: request.method.rawValue, target: target, headers: request.headers)
        else { return .text(400, "The path is not percent-encoded UTF-8") }
        do {
            return try await self.api.answer(
                parsed,
                onWaiting: { waiter in await ClientWatch.watch(channel, waiter) },
                readBody: { limit in try await Self.read(request.body, upTo: limit) }
            )
        } catch let error as ClientHasGone {
            throw error
        } catch let error as HTTPParserError {
            throw error
        } catch {
            if !(error is CancellationError) {
                self.logger.error(
                    "request failed",
                    metadata: [
                        "http.method": "\(parsed.method)", "http.path": "\(parsed.path)", "error": "\(error)",
                    ]
                )
            }
            return .text(500, "Internal error")
        }
    }

    private static func read(_ body: RequestBody, upTo limit: Int) async throws -> [UInt8]? {
        var bytes: [UInt8] = []
        for try await buffer in body {
            guard bytes.count + buffer.readableBytes <= limit else { return nil }
            bytes += buffer.readableBytesView
        }
        return bytes
    }
}
