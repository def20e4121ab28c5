internal import HTTPTestSupport
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyRegistry
internal import ProcessTestSupport

/// `dig`, another's client.
struct Dig {
    var status = "?"
    var flags: Set<String> = []
    /// Each record as one line, its words separated by one space.
    var answers: [String] = []
    var authorities: [String] = []
    var additionals: [String] = []
    /// UDP or TCP.
    var transport = "?"
    var text: String

    /// - Parameter arguments: What stands behind the server and its port.
    static func ask(_ server: Endpoint, _ arguments: String...) async throws -> Dig {
        // With patience: the machine may be busy.
        let common = ["dig", "-r", "@\(server.host)", "-p", "\(server.port)", "+time=20", "+tries=2", "+nocookie"]
        let answer = try await Subprocess.run("/usr/bin/env", common + arguments)
        guard answer.status == 0 else { throw TestSupportError("dig \(arguments): \(answer.output)\(answer.error)") }
        return Dig(reading: answer.output)
    }

    private init(reading text: String) {
        self.text = text
        var section = ""
        for line in text.split(separator: "\n") {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
            if let index = words.firstIndex(of: "status:") {
                self.status = String(words[index + 1].dropLast())
            } else if line.hasPrefix(";; flags:") {
                self.flags = Set(
                    line.prefix { $0 != "," }.split(separator: ";")[0].dropFirst(8).split(separator: " ").map(
                        String.init
                    )
                )
            } else if line.hasPrefix(";; SERVER:") {
                self.transport = words.last.map { String($0.dropFirst().dropLast()) } ?? "?"
            } else if line.hasPrefix(";; "), line.hasSuffix("SECTION:") {
                section = words[1]
            } else if !line.hasPrefix(";") {
                let record = words.joined(separator: " ")
                switch section {
                case "ANSWER": self.answers.append(record)
                case "AUTHORITY": self.authorities.append(record)
                case "ADDITIONAL": self.additionals.append(record)
                default: break
                }
            }
        }
    }
}

/// Runs a DNS server on a free port for the length of `body`.
func withDNSServer<Value>(
    _ source: any RegistryDNSSource,
    _ change: (inout DNSServer.Configuration) -> Void = { _ in },
    _ body: (Endpoint) async throws -> Value
) async throws -> Value {
    var configuration = DNSServer.Configuration(nodeName: "n1")
    configuration.port = 0
    configuration.idleTimeout = .seconds(60)
    change(&configuration)
    let server = try DNSServer(configuration: configuration, source: source, logger: testLogger)
    return try await withRunning(server) { _ in try await body(try await server.endpoint()) }
}

/// One TCP connection to a DNS server.
struct DNSStream {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var received = ByteBuffer()

    static func with<Value: Sendable>(
        _ server: Endpoint,
        _ body: @Sendable @concurrent (inout DNSStream) async throws -> Value
    ) async throws -> Value {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(to: try SocketAddress(ipAddress: server.host, port: server.port)) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var stream = DNSStream(inbound: inbound.makeAsyncIterator(), outbound: outbound)
            return try await body(&stream)
        }
    }

    private init(
        inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator,
        outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) {
        self.inbound = inbound
        self.outbound = outbound
    }

    static func framed(_ message: DNSMessage) -> [UInt8] {
        let bytes = message.encoded().bytes
        return [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
    }

    @concurrent
    func send(_ bytes: [UInt8]) async throws { try await self.outbound.write(ByteBuffer(bytes: bytes)) }

    /// The next response; `nil` at the end of the connection.
    @concurrent
    mutating func next() async throws -> DNSMessage? {
        while true {
            if let length: UInt16 = self.received.getInteger(at: self.received.readerIndex),
                let bytes = self.received.getBytes(at: self.received.readerIndex + 2, length: Int(length))
            {
                self.received.moveReaderIndex(forwardBy: Int(length) + 2)
                return try DNSMessage(decoding: bytes)
            }
            // A reset is an end.
            guard let part = try? await self.inbound.next() else { return nil }
            self.received.writeImmutableBuffer(part)
        }
    }
}

/// Sends datagrams and waits for no answer.
func sendDatagrams(_ datagrams: [[UInt8]], to server: Endpoint) async throws {
    let address = try SocketAddress(ipAddress: server.host, port: server.port)
    let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .bind(host: "127.0.0.1", port: 0).get()
    for datagram in datagrams {
        let envelope = AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: datagram))
        try await channel.writeAndFlush(envelope).get()
    }
    try await channel.close()
}
