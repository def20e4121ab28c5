internal import NIOCore
internal import NIOPosix
internal import ParleyCore

/// One question to one name server: over UDP, and over TCP when the answer is too long for a datagram.
struct DNSQueryExchange: Sendable {
    /// As many datagrams that answer something else are passed over before TCP is tried, where they cannot be forged.
    static let maximumStrangers = 16

    let timeout: Duration
    let udpPayloadSize: UInt16
    let time: any TimeSource
    let random: any RandomSource

    /// Why a name server gave no answer that can be used.
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// Asks once. Each question has an id of its own and comes from a port that the system picks anew.
    ///
    /// - Throws: ``Failure``, or `CancellationError`.
    func ask(_ question: DNSQuestion, of server: Endpoint, usesEDNS: Bool) async throws -> DNSMessage {
        let query = DNSMessage(
            id: UInt16(truncatingIfNeeded: self.random.next() >> 24),
            asking: question,
            edns: usesEDNS ? DNSExtension(udpPayloadSize: self.udpPayloadSize) : nil
        )
        let address = try Self.address(of: server)
        if let answer = try await self.withinTime({ try await Self.askByUDP(query, address) }) { return answer }
        var again = query
        again.id = UInt16(truncatingIfNeeded: self.random.next() >> 24)
        return try await self.withinTime { [again, timeout] in
            try await Self.askByTCP(again, address, timeout: timeout)
        }
    }

    private func withinTime<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let outcome = await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await work() }
            group.addTask { [time, timeout] in
                try await time.sleep(for: timeout)
                throw Failure(description: "no answer within \(timeout)")
            }
            defer { group.cancelAll() }
            return await group.nextResult() ?? .failure(CancellationError())
        }
        do {
            return try outcome.get()
        } catch let failure as Failure {
            try Task.checkCancellation()
            throw failure
        } catch {
            // Also what the cancellation itself has broken.
            try Task.checkCancellation()
            throw Failure(description: "\(error)")
        }
    }

    private static func address(of server: Endpoint) throws -> SocketAddress {
        do {
            return try SocketAddress(ipAddress: server.host, port: server.port)
        } catch {
            throw Failure(description: "\(server.host) is no address")
        }
    }

    /// - Returns: `nil` when the answer has to be fetched by TCP.
    private static func askByUDP(_ query: DNSMessage, _ address: SocketAddress) async throws -> DNSMessage? {
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: DNSMessage.maximumLength))
            // Connected: the system passes on only what comes from that address, and says when nobody listens there.
            .connect(to: address) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<AddressedEnvelope<ByteBuffer>, AddressedEnvelope<ByteBuffer>>(
                        wrappingChannelSynchronously: channel
                    )
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            let bytes = ByteBuffer(bytes: query.encoded().bytes)
            try await outbound.write(AddressedEnvelope(remoteAddress: address, data: bytes))
            var strangers = 0
            for try await envelope in inbound {
                switch query.reply(in: Array(envelope.data.readableBytesView)) {
                case .answer(let answer): return answer
                case .truncated: return nil
                case .stranger: strangers += 1
                }
                if strangers == Self.maximumStrangers { return nil }
            }
            throw Failure(description: "the socket was closed")
        }
    }

    private static func askByTCP(
        _ query: DNSMessage,
        _ address: SocketAddress,
        timeout: Duration
    ) async throws -> DNSMessage {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(TimeAmount(timeout))
            .connect(to: address) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            let bytes = query.encoded().bytes
            var framed = ByteBuffer(integer: UInt16(clamping: bytes.count))
            framed.writeBytes(bytes)
            try await outbound.write(framed)
            var received = ByteBuffer()
            for try await part in inbound {
                received.writeImmutableBuffer(part)
                // At most one message is waited for, so at most 64 KiB and a read are kept.
                guard let length: UInt16 = received.getInteger(at: received.readerIndex),
                    let message = received.getBytes(at: received.readerIndex + 2, length: Int(length))
                else { continue }
                switch query.reply(in: message) {
                case .answer(let answer): return answer
                // Even TCP was too short for it; what there is, is whole records.
                case .truncated:
                    if let answer = try? DNSMessage(decoding: message) { return answer }
                case .stranger: break
                }
                throw Failure(description: "the answer over TCP is not one to this question")
            }
            throw Failure(description: "the connection was closed before the answer")
        }
    }
}
