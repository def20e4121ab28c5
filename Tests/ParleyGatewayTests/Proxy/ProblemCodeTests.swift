internal import NIOCore
internal import ParleyCore
internal import Testing

@testable internal import ParleyGateway

@Suite struct ProblemCodeTests {
    @Test(
        arguments: [
            (404, .noRoute, nil, .noRoute), (403, .addressDenied, nil, .clientNotAllowed),
            (413, .bodyTooLarge, nil, .bodyTooLarge), (405, .clientProtocolError, nil, .methodNotAllowed),
            (400, .clientProtocolError, nil, .malformedRequest), (414, .clientProtocolError, nil, .uriTooLong),
            (503, .noneHealthy, nil, .noInstance), (503, .rateLimited, nil, .rateLimited),
            (502, .connectFailed, .connect, .unreachable), (504, .upstreamTimeout, .readTimeout, .timedOut),
            (502, .connectionEnded, .lost, .broke), (502, .upstreamProtocolError, .garbage, .garbage),
            (502, [.misdirected, .noneHealthy], .misdirected, .misdirected), (504, .totalTimeout, .lost, .timedOut),
            (502, [.connectFailed, .upstreamTimeout], .readTimeout, .timedOut), (404, [], nil, nil),
        ] as [(UInt16, ResponseFlags, UpstreamFailure.Kind?, ProblemCode?)]
    )
    func saysWhatHappenedLast(
        _ status: UInt16,
        _ flags: ResponseFlags,
        _ failure: UpstreamFailure.Kind?,
        _ code: ProblemCode?
    ) {
        #expect(ProblemCode(status: status, flags: flags, lastFailure: failure) == code)
    }

    @Test(arguments: ProblemCode.allCases)
    func eachSaysWhatToDoInOneSentenceOrMore(_ code: ProblemCode) {
        let detail = code.detail(service: "user-service", maxBodySize: 1)
        #expect(detail.hasSuffix(".") && detail.utf8.count > 20)
    }
}

@Suite struct ContextFieldTests {
    private func block(_ fields: [(String, String)]) -> FieldBlock {
        var block = FieldBlock(bytes: ByteBuffer(string: "GET / HTTP/1.1\r\n"))
        for (name, value) in fields {
            let bytes = Array(name.utf8)
            block.append(name: bytes, value: value.utf8, known: KnownField(bytes.span))
        }
        return block
    }

    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("5000", 5_000), ("86400001", 86_400_000), ("99999999999999999999999", 86_400_000),
            ("", nil), ("-1", nil), ("1.5", nil), ("+1", nil), (" 1", nil), ("1s", nil),
        ] as [(String, Int64?)]
    )
    func readsTheTimeLeft(_ value: String, _ milliseconds: Int64?) {
        #expect(ContextFields.timeout(in: self.block([("x-REQUEST-timeout-MS", value)])) == milliseconds)
        #expect(ContextFields.timeout(in: self.block([("X-Request-Timeout-Mz", value)])) == nil)
    }

    @Test(arguments: [
        "", "a", "a b", "a\tb", "é", String(repeating: "x", count: 128), String(repeating: "x", count: 129),
    ])
    func agreesWithTheServicesAboutIDs(_ id: String) {
        let bytes = Array(id.utf8)
        #expect(ContextFields.isAcceptableID(bytes.span) == RequestContext.isAcceptableID(id))
    }
}
