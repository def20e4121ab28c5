/// Many requests out of few parts, drawn with a seed, so that the same come every time.
struct Variants {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func below(_ limit: Int) -> Int {
        // splitmix64
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) % UInt64(max(1, limit)))
    }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[self.below(values.count)] }

    /// `count` requests with a method, a target and fields of each list; half of those that may have a body have one.
    mutating func requests(
        _ count: Int,
        methods: [String] = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"],
        targets: [String],
        fields: [[String]] = Self.fields
    ) -> [Exchange] {
        (0..<count).map { number in
            let method = self.pick(methods)
            var own = self.pick(fields)
            var body = ""
            if ["POST", "PUT", "PATCH"].contains(method), self.below(2) == 0 {
                body = String(repeating: "\(number % 10)", count: 1 + self.below(300))
                if self.below(3) == 0 {
                    own.append("Transfer-Encoding: chunked")
                    body = String(body.utf8.count, radix: 16) + "\r\n\(body)\r\n0\r\n\r\n"
                }
            }
            return Exchange(Request(method, self.pick(targets), own, body: body))
        }
    }

    /// Every target once, and then `more` drawn requests of them.
    static func all(
        _ targets: [String],
        more: Int = 0,
        seed: UInt64 = 1,
        fields: [[String]] = Self.fields
    ) -> [Exchange] {
        var variants = Variants(seed: seed)
        let each = targets.map { Exchange(Request("GET", $0)) }
        return each + variants.requests(more, targets: targets, fields: fields)
    }

    /// Ways to write one path, and some that only look like it.
    static func spellings(_ paths: [String]) -> [String] {
        paths.flatMap { path -> [String] in
            let rest = path.dropFirst()
            let half = path.index(path.startIndex, offsetBy: path.count / 2)
            let first = rest.first.map { "%" + String($0.asciiValue ?? 97, radix: 16) } ?? ""
            return [
                path, path + "/", path + "/x", path + "x", "/" + path, path + "//", path + "//x///y", "/." + path,
                "/x/.." + path, "/x/%2e%2e" + path, "/x/%2E." + path, path + "/.", path + "/..", path + "/../",
                path + "/../x",
                path + "/a/./b/../c", path + "%2Fx", path + "%2fx", path + "/%2F", path + "?", path + "?a=b&c=%2F%20",
                path + "/?x=/../", path + "??", path + "?a#b", path + "#f", path + "%20y", path + "/a+b", path + "/%2B",
                path + "/%25", path + "/%3F", path + "/%23x", path + "/é", path + "/%C3%A9", path + "/%ff",
                path + "/a;p=1",
                path + "/\\", path + "/\"q\"", path + "/<>", path + "/{}|^`", path.uppercased(),
                "/" + first + rest.dropFirst(),
                String(path[..<half]),
                String(path[..<half]) + "%" + String(path[half].asciiValue ?? 47, radix: 16)
                    + String(path[half...].dropFirst()), path + "/%00", path + "/%zz", path + "/%", path + "/%4",
                "/../.." + path, path + "/../../../..", "http://t.test" + path, "http://t.test" + path + "?q",
                "http://other.test"
                    + path, "HTTP://t.test:80" + path, path + "/..a/...", path + "/.hidden", path + "/a/..",
                path + "/%2e",
                path + "/:x@y", path + "/a,b=c&d!$'()*", path + "/\u{7f}",
            ]
        }
    }

    static let fields: [[String]] = [
        [], [], ["X-Script: chunked"], ["X-Script: to-the-end"], ["X-Script: body"], ["X-Script: fields"],
        ["X-Script: no-content"], ["X-Script: not-modified"], ["X-Script: status-404"], ["X-Script: status-500"],
        ["X-Script: empty"], ["X-Script: http-1.0"], ["X-Script: no-reason"], ["X-Script: own-reason"],
        ["Accept-Encoding: gzip", "User-Agent: test"], ["Cookie: a=1; b=2", "Cookie: c=3"],
        ["X-Forwarded-For: 10.1.2.3"],
        ["X_Under: a", "X.Dot: b", "X-Fine: c"], ["Connection: close"], ["Connection: keep-alive"],
        ["Connection: X-Hop", "X-Hop: 1"], ["TE: trailers", "Keep-Alive: 5", "Proxy-Connection: x"],
        ["X-Empty:", "X-Spaces:    padded   ", "X-Tab:\tt\t"], ["Range: bytes=0-1"], ["If-None-Match: \"v1\""],
        ["Authorization: Basic YTpi"], ["Upgrade: websocket", "Connection: Upgrade"], ["Host: other.test"],
        ["Host: t.test:8080"], ["Host: T.Test"], ["Content-Type: application/json"], ["Referer: http://a.test/"],
    ]
}

extension Scenario {
    /// A server with these directives.
    static func server(
        _ name: String,
        _ body: String,
        before: String = "",
        scripts: [String: Script] = [:],
        files: [String: String] = [:],
        isTimed: Bool = false,
        _ exchanges: [Exchange]
    ) -> Scenario {
        Scenario(
            name,
            "\(before)\nserver {\n    listen {listen};\n\(body)\n}\n",
            scripts: scripts,
            files: files,
            isTimed: isTimed,
            exchanges
        )
    }
}
