import Foundation
import NIOCore
import ParleyCore
import Testing

@testable import ParleyGateway

private struct Scope: VariableScope {
    var values: [Variable: [UInt8]] = [:]

    func write(_ variable: Variable, into buffer: inout ByteBuffer) {
        if let value = self.values[variable] { buffer.writeBytes(value) }
    }
}

private func facts() throws -> AccessLogFacts {
    AccessLogFacts(
        time: try #require(Timestamp("2026-11-23T09:15:00.250123Z")),
        status: 502,
        bytesIn: 120,
        bytesOut: 4_096,
        durationMicroseconds: 1_250,
        retries: 1,
        flags: [.connectFailed, .retriesExhausted]
    )
}

private func line(_ format: AccessLogFormat, _ scope: Scope, route: String = "/api") throws -> String {
    var buffer = ByteBuffer()
    format.write(try facts(), route: Array(route.utf8), scope: scope, into: &buffer)
    return String(buffer: buffer)
}

@Suite struct AccessLogLineTests {
    @Test func ourOwnLineIsJSON() throws {
        let scope = Scope(values: [
            .requestID: Array("abc".utf8), .remoteAddress: Array("10.0.0.1".utf8), .requestMethod: Array("GET".utf8),
            .requestURI: Array("/a?b=\"c\"\n".utf8), .requestField("user_agent"): [0x63, 0xFF, 0x5C],
            .upstreamStatus: Array("502, 502".utf8),
        ])
        let text = try line(.json, scope)
        #expect(
            text == #"{"time":"2026-11-23T09:15:00.250123Z","request_id":"abc","client":"10.0.0.1","method":"GET","#
                + #""host":null,"path":"/a?b=\"c\"\n","protocol":null,"status":502,"bytes_in":120,"bytes_out":4096,"#
                + #""duration_us":1250,"upstream":null,"upstream_status":"502, 502","upstream_connect_time":null,"#
                + #""upstream_header_time":null,"upstream_response_time":null,"route":"/api","flags":"UF,URX","#
                + #""retries":1,"user_agent":"c"# + "\u{FFFD}" + #"\\","traceparent":null}"# + "\n"
        )
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(Set(object.keys) == Set(AccessLogLine.members))
        #expect(try line(.json, scope, route: "").contains(#""route":null"#))
    }

    @Test func combinedIsNginxs() throws {
        let scope = Scope(values: [
            .remoteAddress: Array("10.0.0.1".utf8), .timeLocal: Array("23/Nov/2026:09:15:00 +0000".utf8),
            .request: Array("GET /\" HTTP/1.1".utf8), .status: Array("502".utf8), .bodyBytesSent: Array("157".utf8),
            .requestField("user_agent"): [0x63, 0x7F, 0xC3, 0xA4],
        ])
        #expect(
            try line(.combined, scope)
                == #"10.0.0.1 - - [23/Nov/2026:09:15:00 +0000] "GET /\x22 HTTP/1.1" 502 157 "-" "c\x7F\xC3\xA4""# + "\n"
        )
    }

    @Test func eachEscapeIsNginxs() throws {
        let scope = Scope(values: [.args: [0x22, 0x5C, 0x0A, 0x01, 0x7F, 0xC3, 0xA4]])
        func text(_ escape: LogFormatModel.Escape) throws -> [UInt8] {
            let line = Template(parts: [.text([0x22]), .variable(.args), .variable(.host)])
            var buffer = ByteBuffer()
            AccessLogFormat(LogFormatModel(name: "x", escape: escape, line: line))
                .write(try facts(), route: [], scope: scope, into: &buffer)
            return Array(buffer.readableBytesView.dropLast())
        }
        #expect(try text(.standard) == Array(#""\x22\x5C\x0A\x01\x7F\xC3\xA4-"#.utf8))
        #expect(try text(.json) == Array(#""\"\\\n\u0001"#.utf8) + [0x7F, 0xC3, 0xA4])
        #expect(try text(.none) == [0x22, 0x22, 0x5C, 0x0A, 0x01, 0x7F, 0xC3, 0xA4])
    }

    /// Whatever a client sends, a line is one object, and says what was sent.
    @Test func randomBytesStayOneObject() throws {
        let random = SeededRandomSource(seed: 3)
        for _ in 0..<2_000 {
            let bytes = (0..<Int(random.next() % 24)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let text = try line(.json, Scope(values: [.requestURI: bytes]))
            #expect(text.filter { $0.isNewline }.count == 1)
            let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            #expect(object["path"] as? String == (bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)))
        }
    }

    @Test func numbersAndTimes() {
        func number(_ value: Int64) -> String {
            var buffer = ByteBuffer()
            DecimalText.write(value, into: &buffer)
            return String(buffer: buffer)
        }
        for value in [0, 9, 10, 99, 100, 12_345, Int64.max, Int64.min, -1] { #expect(number(value) == "\(value)") }
        let random = SeededRandomSource(seed: 4)
        for _ in 0..<1_000 {
            let value = Int64(random.next() % 253_402_300_799_000_000)
            var buffer = ByteBuffer()
            RFC3339.write(value, into: &buffer)
            #expect(Timestamp(String(buffer: buffer))?.microseconds == value)
        }
    }
}
