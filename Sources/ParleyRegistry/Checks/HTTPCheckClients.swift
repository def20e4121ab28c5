internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import ParleyCore

/// HTTP checks: 2xx passes, 429 warns, everything else is critical.
struct HTTPCheckClients: Sendable {
    private let following: HTTPClient
    private let staying: HTTPClient

    init() {
        self.following = Self.client(.follow(max: 10, allowCycles: false))
        self.staying = Self.client(.disallow)
    }

    private static func client(_ redirects: HTTPClient.Configuration.RedirectConfiguration) -> HTTPClient {
        var configuration = HTTPClient.Configuration(redirectConfiguration: redirects)
        configuration.httpVersion = .http1Only
        return HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
    }

    func shutdown() async {
        try? await self.following.shutdown()
        try? await self.staying.shutdown()
    }

    func check(_ probe: HTTPProbe, _ plan: CheckPlan) async -> CheckResult {
        var request = HTTPClientRequest(url: probe.url)
        request.method = HTTPMethod(rawValue: probe.method.uppercased())
        request.headers = [
            "User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*", "Connection": "close",
        ]
        for (name, values) in probe.header {
            request.headers.remove(name: name)
            for value in values { request.headers.add(name: name, value: value) }
        }
        if !probe.body.isEmpty { request.body = .bytes(ByteBuffer(string: probe.body)) }
        if !probe.verifies {
            request.tlsConfiguration = TLSConfiguration.makeClientConfiguration()
            request.tlsConfiguration?.certificateVerification = .none
        }
        let client = probe.followsRedirects ? self.following : self.staying
        do {
            let response = try await client.execute(request, timeout: TimeAmount(plan.timeout))
            let body = await Self.body(response, limit: plan.outputMaxSize)
            let status = response.status
            let output =
                "HTTP \(request.method.rawValue) \(probe.url): \(status.code) \(status.reasonPhrase) Output: \(body)"
            let found: CheckStatus =
                (200..<300).contains(status.code) ? .passing : status.code == 429 ? .warning : .critical
            return CheckResult(found, output)
        } catch {
            return CheckResult(.critical, "\(request.method.rawValue) \"\(probe.url)\": \(error)")
        }
    }

    /// As much as is kept; what comes after is not read.
    private static func body(_ response: HTTPClientResponse, limit: Int) async -> String {
        var bytes: [UInt8] = []
        do {
            for try await buffer in response.body {
                bytes += buffer.readableBytesView
                if bytes.count > limit { break }
            }
        } catch {
            return String(decoding: bytes.prefix(limit), as: UTF8.self) + " (the body broke off: \(error))"
        }
        return String(decoding: bytes.prefix(limit), as: UTF8.self)
    }
}
