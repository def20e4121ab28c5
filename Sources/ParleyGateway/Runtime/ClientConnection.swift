internal import NIOCore
internal import NIOSSL
internal import ParleyCore

/// What is known of a client's connection, and who takes its requests. Bound to the event loop of its worker.
final class ClientConnection: RequestAcceptor {
    struct Proxied {
        var address: String
        var port: Int
    }

    let worker: GatewayWorker
    /// `nil` when nobody is connected: routes are only asked for.
    let channel: (any Channel)?
    let socketKey: String
    private(set) var socket: GatewayPlan.Socket
    /// Of the plan that the socket was looked up in; none yet.
    private var planGeneration = -1
    let number: UInt64
    private(set) var requests = 0
    /// Of the socket, or whom the PROXY protocol names.
    private(set) var client: ClientAddress
    let socketAddressText: ByteBuffer
    let localAddressText: ByteBuffer
    let localPort: Int
    private(set) var proxied: Proxied?
    var isTLS: Bool { self.socket.listen.isTLS && !self.isPlainOnTLS }
    private(set) var isPlainOnTLS = false
    private var tlsEntry = 0
    private var tlsServerName = ""
    private var tlsVersion = ""
    private var clientCertificate = ClientCertificate.none
    private var drains: (() -> Void)?

    init(worker: GatewayWorker, channel: any Channel, socket: GatewayPlan.Socket, number: UInt64) {
        self.worker = worker
        self.channel = channel
        self.socket = socket
        self.socketKey = socket.address
        self.number = number
        self.client = ClientAddress(channel.remoteAddress)
        self.socketAddressText = self.client.text
        self.localAddressText = ByteBuffer(string: channel.localAddress?.ipAddress ?? "")
        self.localPort = channel.localAddress?.port ?? socket.listen.port
        worker.connections[ObjectIdentifier(self)] = self
    }

    /// Of a client that is not there.
    init(worker: GatewayWorker, socket: GatewayPlan.Socket, client: ClientAddress) {
        self.worker = worker
        self.channel = nil
        self.socket = socket
        self.socketKey = socket.address
        self.number = 0
        self.client = client
        self.socketAddressText = client.text
        self.localAddressText = ByteBuffer(string: socket.listen.host)
        self.localPort = socket.listen.port
    }

    func onDrain(_ action: @escaping () -> Void) {
        self.drains = action
        if self.worker.isDraining { action() }
    }

    func drain() { self.drains?() }

    func close() { self.channel?.close(promise: nil) }

    func closed() {
        self.drains = nil
        self.worker.connections[ObjectIdentifier(self)] = nil
    }

    /// Somebody in front speaks for this client.
    func speaksFor(_ address: SocketAddress) {
        self.proxied = Proxied(address: address.ipAddress ?? "", port: address.port ?? 0)
    }

    // MARK: - TLS

    func sentPlainToTLS() { self.isPlainOnTLS = true }

    func secured(entry: Int, serverName: String?) {
        self.tlsEntry = entry
        self.tlsServerName = serverName ?? ""
    }

    func handshakeCompleted(_ handler: NIOSSLServerHandler?) {
        guard let handler, let context = self.socket.certificates?.context(at: self.tlsEntry) else { return }
        self.clientCertificate = ClientCertificate(handler, mode: context.clientCertificate)
        self.tlsVersion = handler.tlsVersion.map { $0 == .tlsv13 ? "TLSv1.3" : "TLSv1.2" } ?? ""
    }

    func tlsFact(_ variable: Variable) -> String {
        guard self.isTLS else { return "" }
        switch variable {
        case .tlsProtocol: return self.tlsVersion
        case .tlsServerName: return self.tlsServerName
        case .tlsClientVerify: return String(decoding: self.clientCertificate.verify, as: UTF8.self)
        case .tlsClientSubject: return String(decoding: self.clientCertificate.subject, as: UTF8.self)
        case .tlsClientFingerprint: return String(decoding: self.clientCertificate.fingerprint, as: UTF8.self)
        default: return ""
        }
    }

    // MARK: - The protocol

    func makeHandler(_ wire: ProtocolStarter.WireProtocol) -> any ChannelHandler {
        if wire == .http2 { return self.makeHTTP2Handler() }
        let handler = HTTP1ServerHandler(
            acceptor: self,
            settings: self.socket.fallback.model.connection,
            timing: self.socket.fallback.outside.timing,
            eventLoop: self.worker.eventLoop
        )
        self.onDrain { [unowned handler] in handler.drain() }
        return handler
    }

    private func makeHTTP2Handler() -> any ChannelHandler {
        let settings = self.socket.fallback.model.connection
        let timing = self.socket.fallback.outside.timing
        var configuration = HTTP2Configuration()
        configuration.maximumStreams = settings.maxConcurrentStreams
        configuration.idleTimeout = .milliseconds(Int64(timing.keepalive))
        configuration.maximumRequests = timing.keepaliveRequests
        configuration.maximumAge = .milliseconds(Int64(timing.keepaliveTime))
        configuration.fields = HTTP2FieldLimits(
            section: settings.largeHeaderBuffers * settings.largeHeaderBufferSize,
            field: settings.largeHeaderBufferSize,
            names: FieldNameRule(settings)
        )
        let handler = HTTP2ServerHandler(acceptor: self, configuration: configuration)
        self.onDrain { [unowned handler] in handler.drain() }
        return handler
    }

    // MARK: - Requests

    func streamReset() { self.worker.streamReset() }

    func ruleBroken() { self.worker.ruleBroken() }

    /// Asks where a request would go.
    func probe(_ head: RequestHead, _ probe: RouteProbe) {
        let exchange = self.begin(head, stream: probe)
        exchange.probe = probe
        exchange.route()
    }

    func accept(_ head: RequestHead, stream: any ClientStream) -> any RequestReceiver {
        let exchange = self.begin(head, stream: stream)
        if self.isPlainOnTLS {
            exchange.server = self.socket.fallback
            exchange.location = self.socket.fallback.outside
            exchange.fail(497, .clientProtocolError, "plain HTTP on a socket of TLS")
        } else {
            exchange.route()
        }
        return exchange
    }

    func refuse(_ refusal: HeadRefusal, method: Method, stream: any ClientStream) {
        let exchange = self.begin(RequestHead(method: method, keepsAlive: false), stream: stream)
        exchange.server = self.socket.fallback
        exchange.location = self.socket.fallback.outside
        let flags: ResponseFlags = refusal == .headTooLarge ? .invalidHeader : .clientProtocolError
        exchange.fail(UInt16(clamping: refusal.status), flags, "\(refusal)")
    }

    private func begin(_ head: RequestHead, stream: any ClientStream) -> Exchange {
        self.requests += 1
        // A reload applies from the next request on, also to connections that are open.
        if self.worker.plan.generation != self.planGeneration {
            self.planGeneration = self.worker.plan.generation
            if let current = self.worker.plan.sockets.first(where: { $0.address == self.socketKey }) {
                self.socket = current
            }
        }
        let exchange = self.worker.exchange()
        exchange.begin(head, stream: stream, connection: self)
        return exchange
    }
}
