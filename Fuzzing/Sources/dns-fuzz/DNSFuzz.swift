import ParleyCore

@testable import ParleyDiscovery
@testable import ParleyRegistry

/// What libFuzzer calls with each input, and expects to return.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    DNSFuzz.decode(bytes)
    DNSFuzz.answer(bytes)
    return 0
}

/// What must hold for every input. A broken promise ends the process, which is how libFuzzer learns of it.
enum DNSFuzz {
    private static func promise(_ holds: Bool, _ what: String) {
        if !holds { fatalError(what) }
    }

    /// The decoder, the encoder, and what the resolver makes of an answer.
    static func decode(_ bytes: [UInt8]) {
        guard let message = try? DNSMessage(decoding: bytes) else { return }
        let encoded = message.encoded()
        // SRV targets grow when they are written, so a long message may become too long.
        if encoded.isWhole, message.edns.map({ $0.options.count < 16_000 }) ?? true {
            let again = try? DNSMessage(decoding: encoded.bytes)
            self.promise(again == message, "what was read is not what is written")
        }
        let short = message.encoded(limit: 512)
        self.promise(short.bytes.count <= 512, "longer than its limit")
        self.promise((try? DNSMessage(decoding: short.bytes)) != nil, "cut in a record")
        for question in message.questions {
            let text = question.name.description
            self.promise((try? DNSName(text))?.wire == question.name.wire, "a name is not what its text says")
            let resolved = message.resolved(question.name, question.type)
            self.promise(resolved.records.allSatisfy { $0.type == question.type }, "records of another type")
        }
        var query = DNSMessage(id: message.id)
        query.questions = message.questions
        _ = query.reply(in: bytes)
    }

    /// The server without its sockets.
    static func answer(_ bytes: [UInt8]) {
        for transport in [DNSResponder.Transport.udp, .tcp] {
            guard let answer = self.responder.respond(to: bytes, over: transport) else { continue }
            let message = try? DNSMessage(decoding: answer)
            self.promise(message?.isResponse == true, "an answer that is none")
            self.promise(answer.prefix(2).elementsEqual(bytes.prefix(2)), "another's id")
            self.promise(answer.count <= (transport == .udp ? 4_096 : 65_535), "longer than its limit")
        }
    }

    private static let responder = DNSResponder(
        zone: DNSZone(
            settings: .init(domain: (try? DNSName("consul")) ?? .root, datacenter: "dc1", nodeName: "n1")
        ),
        source: Shop(),
        time: SystemTimeSource(),
        random: SeededRandomSource(seed: 1)
    )

    /// One service of each kind; also those that are in a loop.
    private struct Shop: RegistryDNSSource {
        private static let node = RegistryDNSNode(name: "n1", address: "127.0.0.1", meta: ["rack": "a"])

        func instances(ofService name: String) -> [RegistryDNSInstance] {
            switch name {
            case "web":
                (0..<40).map {
                    let status: HealthStatus = $0 % 5 == 0 ? .warning : .passing
                    return .init(
                        service: "web",
                        address: $0 == 0 ? "" : "10.0.0.\($0)",
                        port: 80,
                        tags: ["v\($0 % 3)", "a.b"],
                        status: status,
                        node: Self.node
                    )
                }
            case "six": [.init(service: "six", address: "fd00::1", port: 80, node: Self.node)]
            case "host": [.init(service: "host", address: "n1.node.consul", port: 80, node: Self.node)]
            case "loop": [.init(service: "loop", address: "loop.service.consul", port: 80, node: Self.node)]
            default: []
            }
        }

        func node(named name: String) -> RegistryDNSNode? { name == "n1" ? Self.node : nil }

        func names(at address: String) -> RegistryDNSNames {
            address == "127.0.0.1" ? RegistryDNSNames(nodes: ["n1"]) : RegistryDNSNames(services: ["web"])
        }
    }
}
