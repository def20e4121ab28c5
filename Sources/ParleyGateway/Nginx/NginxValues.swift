/// The values of nginx's language: numbers, sizes, times. `nil` is what nginx refuses.
enum NginxValue {
    /// Milliseconds of ten years, which stand for all longer times, so that a time added to now is one too.
    static let longestTime = 315_360_000_000
    /// No buffer is larger: memory of this size would not be there, and lengths of buffers have 32 bits.
    static let largestBuffer = 1 << 30
    /// Digits only.
    static func number(_ bytes: some Collection<UInt8>) -> Int? {
        guard !bytes.isEmpty else { return nil }
        var value = 0
        for byte in bytes {
            guard (0x30...0x39).contains(byte) else { return nil }
            let (product, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, isSumTooLarge) = product.addingReportingOverflow(Int(byte) - 0x30)
            guard !isTooLarge, !isSumTooLarge else { return nil }
            value = sum
        }
        return value
    }

    /// `8k`, `1m`; with `allowsGiga` (the sizes of bodies and files) `2g` too.
    static func size(_ bytes: [UInt8], allowsGiga: Bool = false) -> Int? {
        var digits = bytes[...]
        var scale = 1
        switch bytes.last {
        case 0x6B, 0x4B: scale = 1 << 10
        case 0x6D, 0x4D: scale = 1 << 20
        case 0x67, 0x47: scale = allowsGiga ? 1 << 30 : 1
        default: break
        }
        if scale > 1 { digits.removeLast() }
        guard let value = Self.number(digits) else { return nil }
        let (result, isTooLarge) = value.multipliedReportingOverflow(by: scale)
        return isTooLarge ? nil : result
    }

    /// `30`, `1h30m`, `500ms`, as milliseconds. The larger units come first; a number without a unit is seconds.
    static func milliseconds(_ bytes: [UInt8]) -> Int? { Self.time(bytes, inSeconds: false) }

    /// As ``milliseconds(_:)``, in seconds; months and years are allowed, milliseconds are not.
    static func seconds(_ bytes: [UInt8]) -> Int? { Self.time(bytes, inSeconds: true) }

    /// The units in the order in which they may follow each other.
    private enum Unit: Int {
        case start, year, month, week, day, hour, minute, second, millisecond, last
    }

    private static func time(_ bytes: [UInt8], inSeconds: Bool) -> Int? {
        var rest = bytes[...]
        var step = inSeconds ? Unit.start : .month
        var total = 0
        var value = 0
        var hasDigits = false
        func add(_ scale: Int) -> Bool {
            let (product, isTooLarge) = value.multipliedReportingOverflow(by: scale)
            let (sum, isSumTooLarge) = total.addingReportingOverflow(product)
            total = sum
            value = 0
            return !isTooLarge && !isSumTooLarge
        }
        while let byte = rest.popFirst() {
            if (0x30...0x39).contains(byte) {
                let (product, isTooLarge) = value.multipliedReportingOverflow(by: 10)
                let (sum, isSumTooLarge) = product.addingReportingOverflow(Int(byte) - 0x30)
                guard !isTooLarge, !isSumTooLarge else { return nil }
                value = sum
                hasDigits = true
                continue
            }
            var unit = Unit.last
            var scale = 1
            switch byte {
            case 0x79: (unit, scale) = (.year, 31_536_000)
            case 0x4D: (unit, scale) = (.month, 2_592_000)
            case 0x77: (unit, scale) = (.week, 604_800)
            case 0x64: (unit, scale) = (.day, 86_400)
            case 0x68: (unit, scale) = (.hour, 3_600)
            case 0x6D where rest.first == 0x73:
                guard !inSeconds else { return nil }
                rest.removeFirst()
                unit = .millisecond
            case 0x6D: (unit, scale) = (.minute, 60)
            case 0x73: (unit, scale) = (.second, 1)
            case 0x20: (unit, scale) = (.last, 1)
            default: return nil
            }
            // A space stands for seconds, so neither they nor anything smaller may have come before.
            let latest = unit == .last ? Unit.second.rawValue : unit.rawValue
            guard step.rawValue < latest else { return nil }
            step = unit
            if !inSeconds, unit != .millisecond { scale *= 1_000 }
            guard add(scale) else { return nil }
            while rest.first == 0x20 { rest.removeFirst() }
        }
        guard hasDigits, add(inSeconds ? 1 : 1_000) else { return nil }
        return total
    }
}

/// A host with or without a port, and what follows, as `listen`, `server` and `proxy_pass` write it.
struct NginxAddress: Sendable, Hashable {
    /// Without the brackets of an IPv6 address.
    var host = ""
    /// With them.
    var writtenHost = ""
    var port: Int?
    /// The last of a range of ports.
    var lastPort: Int?
    /// From the first `/` or `?` on.
    var uri: [UInt8]?

    enum Use { case listen, server, pass }

    struct Invalid: Error, Hashable { var reason: String }

    /// What is wrong is said in nginx's words: `invalid port`, `invalid host`, `no host`.
    init(_ bytes: some Collection<UInt8>, for use: Use) throws(Invalid) {
        var rest = Array(bytes)[...]
        if rest.starts(with: "unix:".utf8) { throw Invalid(reason: "unix domain sockets are not supported") }
        if let start = rest.firstIndex(where: { $0 == 0x2F || $0 == 0x3F }) {
            guard use == .pass else { throw Invalid(reason: "invalid host") }
            self.uri = Array(rest[start...])
            rest = rest[..<start]
        }
        if rest.first == 0x5B {
            guard let end = rest.firstIndex(of: 0x5D) else { throw Invalid(reason: "invalid host") }
            let host = String(decoding: rest[rest.index(after: rest.startIndex)..<end], as: UTF8.self)
            guard let address = IPAddress(host), address.bytes.count == 16 || address.wasMapped else {
                throw Invalid(reason: "invalid IPv6 address")
            }
            self.host = host
            self.writtenHost = "[\(host)]"
            rest = rest[rest.index(after: end)...]
            guard !rest.isEmpty else { return }
            guard rest.first == 0x3A else { throw Invalid(reason: "invalid host") }
            try self.readPort(rest.dropFirst(), isListen: use == .listen)
            return
        }
        if let colon = rest.firstIndex(of: 0x3A) {
            try self.readPort(rest[rest.index(after: colon)...], isListen: use == .listen)
            rest = rest[..<colon]
        } else if use == .listen, let first = rest.first, (0x30...0x39).contains(first),
            rest.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2D })
        {
            try self.readPort(rest, isListen: true)
            (self.host, self.writtenHost) = ("0.0.0.0", "0.0.0.0")
            return
        }
        guard !rest.isEmpty else { throw Invalid(reason: "no host") }
        self.host = String(decoding: rest, as: UTF8.self)
        if use == .listen, self.host == "*" { self.host = "0.0.0.0" }
        self.writtenHost = self.host
    }

    private mutating func readPort(_ bytes: ArraySlice<UInt8>, isListen: Bool) throws(Invalid) {
        var bytes = bytes
        if isListen, let dash = bytes.firstIndex(of: 0x2D) {
            self.lastPort = try Self.portNumber(bytes[bytes.index(after: dash)...])
            bytes = bytes[..<dash]
        }
        let port = try Self.portNumber(bytes)
        if let last = self.lastPort, port > last { throw Invalid(reason: "invalid port range") }
        self.port = port
    }

    private static func portNumber(_ bytes: ArraySlice<UInt8>) throws(Invalid) -> Int {
        guard let port = NginxValue.number(bytes), (1...65_535).contains(port) else {
            throw Invalid(reason: "invalid port")
        }
        return port
    }
}
