import ParleyGateway
import Testing

/// Whatever the bytes are, reading ends, with a model or with errors that have a place.
@Suite struct NginxGarbageTests {
    private static let seeds = NginxVerdict.all.map(\.text) + [NginxGuideTests.patterns, NginxGuideTests.gateway]

    private func outcome(of bytes: [UInt8]) {
        var files = NginxMemoryFiles([:])
        files.files["/etc/nginx/test.conf"] = bytes
        do throws(NginxErrors) {
            let (model, _) = try NginxConfiguration.read(path: "/etc/nginx/test.conf", files: files)
            #expect(model.servers.allSatisfy { !$0.listens.isEmpty && !$0.names.isEmpty })
        } catch {
            #expect((1...NginxErrors.limit).contains(error.problems.count))
            #expect(error.problems.allSatisfy { $0.place.line >= 1 && $0.place.column >= 1 })
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: Array(1...8) as [UInt64])
    func changedFiles(seed: UInt64) {
        var lots = NginxLots(seed: seed)
        let alphabet = Array("{};\"'\\$#~=*@.:/?-0 1\n\0\u{FF}kmsg()[]".utf8)
        for _ in 0..<400 {
            var bytes = Array(Self.seeds[lots.next(Self.seeds.count)].utf8)
            for _ in 0...lots.next(6) where !bytes.isEmpty {
                let index = lots.next(bytes.count)
                switch lots.next(5) {
                case 0: bytes[index] = alphabet[lots.next(alphabet.count)]
                case 1: bytes.insert(alphabet[lots.next(alphabet.count)], at: index)
                case 2: bytes.remove(at: index)
                case 3: bytes.removeSubrange(index..<min(bytes.count, index + lots.next(20)))
                default:
                    let other = Array(Self.seeds[lots.next(Self.seeds.count)].utf8)
                    bytes.insert(contentsOf: other.prefix(lots.next(other.count + 1)), at: index)
                }
            }
            self.outcome(of: bytes)
        }
    }

    /// Words in any order: they get further than bytes do.
    @Test(.timeLimit(.minutes(2)), arguments: Array(1...4) as [UInt64])
    func wordsInAnyOrder(seed: UInt64) {
        var lots = NginxLots(seed: seed)
        var words = NginxConfiguration.directives.map(\.name)
        words += [
            "on", "off", "1", "99999999999999999999", "1k", "9223372036854775807g", "http://a", "$host", "$", "~", "=",
        ]
        words += [
            "\"\"", "127.0.0.1:1", "[::1", "zone=a:1m", "rate=1r/s", "weight=9223372036854775807", "all", "/", "if",
        ]
        for _ in 0..<500 {
            var text = "server {"
            for _ in 0..<lots.next(40) {
                text += " " + words[lots.next(words.count)]
                text += [";", "{", "}", "", "", "; }"][lots.next(6)]
            }
            self.outcome(of: Array(text.utf8))
        }
    }

    @Test(.timeLimit(.minutes(2))) func aMegabyteOfGarbage() {
        var lots = NginxLots(seed: 9)
        self.outcome(of: (0..<(1 << 20)).map { _ in UInt8(lots.next(256)) })
        self.outcome(of: Array(repeating: 0x7B, count: 1 << 20))
        self.outcome(of: Array(repeating: 0x61, count: 1 << 20))
        self.outcome(of: Array(String(repeating: "a;", count: 1 << 19).utf8))
        self.outcome(of: Array(String(repeating: "a{", count: 1 << 19).utf8))
        self.outcome(of: Array(String(repeating: "$", count: 1 << 20).utf8))
    }

    @Test func numbersAtTheirLimits() {
        let largest = "9223372036854775807"
        for directive in [
            "proxy_buffers \(largest) 1", "proxy_buffer_size \(largest)", "client_max_body_size \(largest)",
            "keepalive_requests \(largest)", "send_timeout \(largest)", "proxy_busy_buffers_size \(largest)",
            "large_client_header_buffers \(largest) \(largest)", "limit_conn a \(largest)",
            "listen 1 backlog=\(largest)",
            "return \(largest)", "error_page \(largest) /", "proxy_buffers 2 4611686018427387904",
        ] {
            self.outcome(of: Array("server { \(directive); location / { proxy_pass http://a; } }".utf8))
        }
        let text =
            "upstream a { server b weight=\(largest) max_fails=\(largest) fail_timeout=\(largest) max_conns=\(largest); }"
        self.outcome(of: Array(text.utf8))
        self.outcome(of: Array("worker_processes \(largest); events { worker_connections \(largest); } http { }".utf8))
    }
}
